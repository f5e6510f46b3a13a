//! Where a replay goes on, as text that a client hands back.

use headgate_sdk::Str;

use crate::sink::kafka::Span;

/// A cursor that nobody here wrote.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is no place where a replay can go on: hand back what an earlier part said")]
pub struct CursorError(String);

/// The position of a log or the journal.
///
/// # Errors
/// [`CursorError`] if it is no number.
pub fn position(cursor: Option<&str>) -> Result<u64, CursorError> {
    let parse = |cursor: &str| cursor.parse().map_err(|_| CursorError(cursor.to_owned()));
    cursor.map_or(Ok(0), parse)
}

/// What is left of topics, `topic:partition:next-end` each: with where it ends, taken when the replay began.
#[must_use]
pub fn write_spans(spans: &[Span]) -> Option<String> {
    let left = spans.iter().filter(|span| span.next < span.end);
    let texts: Vec<String> = left
        .map(|span| {
            format!(
                "{}:{}:{}-{}",
                span.topic, span.partition, span.next, span.end
            )
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

/// The opposite.
///
/// # Errors
/// [`CursorError`].
pub fn read_spans(cursor: &str) -> Result<Vec<Span>, CursorError> {
    let span = |text: &str| {
        let mut parts = text.split(':');
        let (topic, partition, offsets) = (parts.next()?, parts.next()?, parts.next()?);
        let (next, end) = offsets.split_once('-')?;
        let span = Span {
            topic: Str::new(topic),
            partition: partition.parse().ok()?,
            next: next.parse().ok()?,
            end: end.parse().ok()?,
        };
        (parts.next().is_none() && span.partition >= 0 && span.next >= 0).then_some(span)
    };
    let spans: Option<Vec<_>> = cursor.split(',').map(span).collect();
    spans.ok_or_else(|| CursorError(cursor.chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        let span = |topic: &str, partition, next, end| Span {
            topic: topic.into(),
            partition,
            next,
            end,
        };
        let spans = [
            span("a.b-c_d", 0, 7, 9),
            span("a.b-c_d", 1, 9, 9),
            span("e", 12, 0, 1 << 40),
        ];
        let cursor = write_spans(&spans).unwrap();
        assert_eq!(cursor, "a.b-c_d:0:7-9,e:12:0-1099511627776");
        let left = [spans[0].clone(), spans[2].clone()];
        assert_eq!(read_spans(&cursor).unwrap(), left);
        assert_eq!(write_spans(&spans[1..2]), None);
        for wrong in [
            "",
            "7",
            "a:0:7",
            "a:0:7-9:1",
            "a:-1:7-9",
            "a:0:x-9",
            "a:0:7-9,",
        ] {
            assert!(read_spans(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            (position(None).unwrap(), position(Some("7")).unwrap()),
            (0, 7)
        );
        assert!(position(Some("a:0:7-9")).is_err());
    }
}
