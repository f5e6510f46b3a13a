//! What the fuzz targets do with their bytes; the tests replay the stored corpus with the same code. Not part of the interface.

use crate::{
    pgoutput::{Decoder, Message, Tuple},
    types::{Kind, Numbers, Rendering, builtin, write},
};

/// Decodes messages, each behind its length in two bytes, as one stream.
pub fn pgoutput(data: &[u8]) {
    let mut decoder = Decoder::default();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        match decoder.clone().decode(message) {
            Ok(Message::Insert { new, .. }) => whole(new),
            Ok(Message::Update { old, new, .. }) => {
                whole(new);
                if let Some((_, old)) = old {
                    whole(old);
                }
            }
            Ok(Message::Delete { old, .. }) => whole(old.1),
            Ok(_) => {}
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        // Whatever it was: with one byte more or less it is something else.
        if decoder.decode(message).is_ok() {
            let longer = [message, b"\0"].concat();
            assert!(decoder.clone().decode(&longer).is_err());
        }
    }
}

/// A tuple that was accepted has as many columns as it says.
fn whole(tuple: Tuple<'_>) {
    assert_eq!(tuple.columns().count(), tuple.len());
}

/// Writes text as a value of the type that the first byte chooses: one JSON value, whatever it is.
pub fn value(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    // bool, bytea, int8, int4, float8, date, time, timestamp, timestamptz, interval, timetz, numeric, int2vector, and arrays.
    const OIDS: [u32; 18] = [
        16, 17, 20, 23, 701, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 22, 1000, 1007, 1009, 1185,
        1231,
    ];
    let kind = match usize::from(choice) % (OIDS.len() + 1) {
        18 => Kind::Hstore,
        at => builtin(OIDS[at]).unwrap_or(Kind::Text),
    };
    for numbers in [Numbers::Number, Numbers::String] {
        let rendering = Rendering {
            bigint: numbers,
            numeric: numbers,
        };
        let mut out = b"[".to_vec();
        write(&kind, text, rendering, &mut out);
        out.push(b']');
        let written: Result<Vec<serde::de::IgnoredAny>, _> = serde_json::from_slice(&out);
        assert!(
            written.is_ok_and(|values| values.len() == 1),
            "{}",
            String::from_utf8_lossy(&out)
        );
    }
}

#[cfg(test)]
mod tests {
    fn replay(target: &str, check: fn(&[u8])) {
        let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder}: {e}")) {
            check(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 5, "{target}: only {count} files");
    }

    #[test]
    fn the_corpus_of_messages_holds() {
        replay("postgres_pgoutput", super::pgoutput);
    }

    #[test]
    fn the_corpus_of_values_holds() {
        replay("postgres_value", super::value);
    }

    proptest::proptest! {
        /// A fuzzer of the poor.
        #[test]
        fn nothing_panics_on_any_bytes(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), tag in "[IUDTMORYBCSEcAbPKrp]") {
            super::pgoutput(&data);
            super::value(&data);
            let length = u16::try_from(data.len() + 1).unwrap();
            super::pgoutput(&[&length.to_be_bytes()[..], tag.as_bytes(), &data].concat());
        }

        #[test]
        fn whatever_is_written_is_json(choice: u8, text in r#"[{}\[\]"\\=>, NULLa0-9eE+.:x-]{0,40}"#) {
            super::value(&[&[choice][..], text.as_bytes()].concat());
        }
    }
}
