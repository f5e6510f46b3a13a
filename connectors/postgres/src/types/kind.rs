//! What a type is, as far as writing it is concerned.

use std::sync::Arc;

/// How values of a type are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    /// `int2`, `int4`, `oid`, …: fits every JSON reader's number.
    Integer,
    /// `int8`, `xid8`.
    BigInteger,
    Float,
    Numeric,
    Date,
    Timestamp,
    TimestampTz,
    TimeTz,
    Bytea,
    Json,
    Hstore,
    /// `int2vector` and `oidvector`: numbers with spaces between them.
    Vector,
    Array {
        element: Arc<Kind>,
        delimiter: u8,
    },
    /// The server's text.
    Text,
}

impl Kind {
    /// An array of `element`.
    pub(crate) fn array(element: Self, delimiter: u8) -> Self {
        Self::Array {
            element: Arc::new(element),
            delimiter,
        }
    }
}

/// The kind of a type of `pg_catalog` by its OID (`pg_type.dat`, stable across versions); `None` for types that only the
/// catalogue of the database knows.
pub(crate) fn builtin(oid: u32) -> Option<Kind> {
    if let Some(kind) = scalar(oid) {
        return Some(kind);
    }
    ARRAYS
        .iter()
        .find(|(array, _)| *array == oid)
        .map(|&(_, element)| {
            let delimiter = if element == BOX { b';' } else { b',' };
            Kind::array(scalar(element).unwrap_or(Kind::Text), delimiter)
        })
}

const BOX: u32 = 603;

fn scalar(oid: u32) -> Option<Kind> {
    Some(match oid {
        16 => Kind::Boolean,
        // int2, int4, oid, xid, cid
        21 | 23 | 26 | 28 | 29 => Kind::Integer,
        // int8, xid8
        20 | 5069 => Kind::BigInteger,
        700 | 701 => Kind::Float,
        1700 => Kind::Numeric,
        1082 => Kind::Date,
        1114 => Kind::Timestamp,
        1184 => Kind::TimestampTz,
        1266 => Kind::TimeTz,
        17 => Kind::Bytea,
        114 | 3802 => Kind::Json,
        22 | 30 => Kind::Vector,
        // char, name, text, tid, xml, point…circle, cidr, money, macaddr, inet, macaddr8, bpchar, varchar, time, interval,
        // bit, varbit, uuid, pg_lsn, tsvector, tsquery, jsonpath, ranges, multiranges, txid_snapshot, pg_snapshot, reg*
        18
        | 19
        | 25
        | 27
        | 142
        | 600..=604
        | 628
        | 650
        | 718
        | 774
        | 790
        | 829
        | 869
        | 1042
        | 1043
        | 1083
        | 1186
        | 1560
        | 1562
        | 2950
        | 3220
        | 3614
        | 3615
        | 4072
        | 3904
        | 3906
        | 3908
        | 3910
        | 3912
        | 3926
        | 4451
        | 4532..=4536
        | 2970
        | 5038
        | 24
        | 2202..=2206
        | 4089
        | 4096
        | 3734
        | 3769
        | 4191 => Kind::Text,
        _ => return None,
    })
}

/// Array type and element type.
const ARRAYS: [(u32, u32); 73] = [
    (1000, 16),
    (1001, 17),
    (1002, 18),
    (1003, 19),
    (1016, 20),
    (1005, 21),
    (1006, 22),
    (1007, 23),
    (1008, 24),
    (1009, 25),
    (1028, 26),
    (1010, 27),
    (1011, 28),
    (1012, 29),
    (1013, 30),
    (199, 114),
    (143, 142),
    (1017, 600),
    (1018, 601),
    (1019, 602),
    (1020, 603),
    (1027, 604),
    (629, 628),
    (651, 650),
    (1021, 700),
    (1022, 701),
    (719, 718),
    (791, 790),
    (1040, 829),
    (1041, 869),
    (775, 774),
    (1014, 1042),
    (1015, 1043),
    (1182, 1082),
    (1183, 1083),
    (1115, 1114),
    (1185, 1184),
    (1187, 1186),
    (1231, 1700),
    (1270, 1266),
    (1561, 1560),
    (1563, 1562),
    (2951, 2950),
    (3221, 3220),
    (3643, 3614),
    (3645, 3615),
    (3807, 3802),
    (4073, 4072),
    (3905, 3904),
    (3907, 3906),
    (3909, 3908),
    (3911, 3910),
    (3913, 3912),
    (3927, 3926),
    (6150, 4451),
    (6151, 4532),
    (6152, 4533),
    (6153, 4534),
    (6155, 4535),
    (6157, 4536),
    (2949, 2970),
    (5039, 5038),
    (271, 5069),
    (2207, 2202),
    (2208, 2203),
    (2209, 2204),
    (2210, 2205),
    (2211, 2206),
    (4090, 4089),
    (4097, 4096),
    (3735, 3734),
    (3770, 3769),
    (4192, 4191),
];
