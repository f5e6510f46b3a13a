//! What SCRAM binds to: the hash of the server's certificate.

use sha2::{Digest, Sha256, Sha384, Sha512};

/// The hash that RFC 5929 asks for: the one of the certificate's signature, SHA-256 instead of MD5 and SHA-1.
pub(super) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
    const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    let (_, whole, _) = der(certificate)?;
    let (_, _, after_body) = der(whole)?;
    let (_, algorithm, _) = der(after_body)?;
    let (0x06, oid, parameters) = der(algorithm)? else {
        return None;
    };
    let sha256 = || Some(Sha256::digest(certificate).to_vec());
    let sha384 = || Some(Sha384::digest(certificate).to_vec());
    let sha512 = || Some(Sha512::digest(certificate).to_vec());
    match (oid.strip_prefix(RSA), oid.strip_prefix(ECDSA_SHA2)) {
        (Some([4 | 5 | 11]), _) | (_, Some([2])) => sha256(),
        (Some([12]), _) | (_, Some([3])) => sha384(),
        (Some([13]), _) | (_, Some([4])) => sha512(),
        // RSASSA-PSS says in its parameters which hash it has.
        (Some([10]), _) => match pss_hash(parameters).map(|oid| oid.strip_prefix(SHA2)) {
            None | Some(Some([1])) => sha256(),
            Some(Some([2])) => sha384(),
            Some(Some([3])) => sha512(),
            Some(_) => None,
        },
        _ if oid == ECDSA_SHA1 => sha256(),
        _ => None,
    }
}

/// The hash in the parameters of RSASSA-PSS (RFC 4055): the first field, under tag 0; SHA-1 where it is left out.
fn pss_hash(parameters: &[u8]) -> Option<&[u8]> {
    let (_, fields, _) = der(parameters)?;
    let (0xa0, tagged, _) = der(fields)? else {
        return None;
    };
    let (_, algorithm, _) = der(tagged)?;
    let (_, oid, _) = der(algorithm)?;
    Some(oid)
}

/// Tag, contents and rest of a DER value.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (length, rest) = rest.split_at_checked(count)?;
        (
            length
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
            rest,
        )
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}
