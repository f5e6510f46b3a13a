use super::*;

async fn spool(folder: &Path, max: u64) -> Spool {
    Spool::open(folder.join("spool"), max).await.unwrap()
}

async fn messages(spool: &mut Spool, xid: u32) -> Vec<Vec<u8>> {
    let mut reader = spool.reader(xid).await.unwrap();
    let mut found = Vec::new();
    while let Some(record) = reader.next().await.unwrap() {
        if let Record::Message(bytes) = record {
            found.push(bytes.to_vec());
        }
    }
    spool.remove(xid, reader).await.unwrap();
    found
}

#[tokio::test]
async fn gives_back_what_was_not_aborted_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = spool(folder.path(), 1 << 30).await;
    for i in 0..40_000_u32 {
        if spool.append(1, 1 + i % 3, b'I', &i.to_be_bytes()) {
            spool.write_out(1).await.unwrap();
        }
        spool.append(9, 9, b'D', &i.to_be_bytes());
    }
    spool.abort(1, 2).await.unwrap();
    assert!(folder.path().join("spool/1").exists());
    let found = messages(&mut spool, 1).await;
    let expected: Vec<Vec<u8>> = (0..40_000_u32)
        .filter(|i| i % 3 != 1)
        .map(|i| [&[b'I'][..], &i.to_be_bytes()].concat())
        .collect();
    assert_eq!(found, expected);
    assert!(!folder.path().join("spool/1").exists());
    assert_eq!(messages(&mut spool, 9).await.len(), 40_000);
    assert_eq!(spool.bytes(), 0);
}

#[tokio::test]
async fn an_abort_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = spool(folder.path(), 1 << 30).await;
    spool.append(1, 1, b'I', &vec![0; MEMORY_BYTES]);
    spool.write_out(1).await.unwrap();
    spool.abort(1, 1).await.unwrap();
    assert_eq!((spool.bytes(), spool.len()), (0, 0));
    assert_eq!(
        std::fs::read_dir(folder.path().join("spool"))
            .unwrap()
            .count(),
        0
    );
    assert!(messages(&mut spool, 1).await.is_empty());
}

#[tokio::test]
async fn is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = spool(folder.path(), 1000).await;
    spool.append(1, 1, b'I', &vec![0; MEMORY_BYTES]);
    let error = spool.write_out(1).await.unwrap_err();
    assert!(matches!(error, SpoolError::Full { max: 1000 }));
}

#[tokio::test]
async fn what_an_earlier_run_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("spool")).unwrap();
    std::fs::write(folder.path().join("spool/77"), b"old").unwrap();
    let mut spool = spool(folder.path(), 1000).await;
    assert!(messages(&mut spool, 77).await.is_empty());
    assert!(!folder.path().join("spool/77").exists());
}
