//! What a route decides, without the service around it.

use headgate_sdk::{DeadLetter, Envelope, Str};

use super::config::{Matching, Rule, Unmatched};
use super::{Config, RoutedRecord, SinkSet, Template, is_topic_name};
use crate::{
    pipeline::{script::Condition, step::Types},
    sink::Record,
};

/// The rules of a route, for one lane.
#[derive(Debug)]
pub struct Router {
    rules: Vec<(Types, Option<Condition>, Destination)>,
    default: Destination,
    matching: Matching,
    unmatched: Unmatched,
    step: Str,
    dropped: metrics::Counter,
    /// Where the event in hand goes; kept for its room.
    places: Vec<Place>,
}

/// Where a rule sends events.
#[derive(Debug)]
struct Destination {
    topic: Template,
    key: Template,
    headers: Vec<(Str, Template)>,
    sinks: SinkSet,
    /// Whether the topic depends on tenant and type alone.
    topic_is_plain: bool,
    /// The topic rendered last for (tenant, type), because most batches have one.
    last_topic: Option<(Str, Str, Str)>,
}

/// Where one event goes.
#[derive(Debug)]
struct Place {
    topic: Str,
    key: Option<Str>,
    headers: Vec<(Str, Str)>,
    sinks: SinkSet,
}

impl Place {
    fn record(self, envelope: Envelope) -> RoutedRecord {
        RoutedRecord {
            record: Record {
                envelope,
                topic: self.topic,
                key: self.key,
                headers: self.headers,
            },
            sinks: self.sinks,
        }
    }
}

/// A reason and a message.
type Refusal = (Str, String);

impl Router {
    /// The router of the step `step` to sinks out of `all` (names in the order of their indices). Unknown names were refused
    /// when the configuration was loaded.
    #[must_use]
    pub fn new(config: &Config, step: impl Into<Str>, all: &[Str]) -> Self {
        let step = step.into();
        let rules = config.rules.iter();
        Self {
            rules: rules
                .map(|rule| {
                    (
                        rule.types.clone(),
                        rule.when.clone(),
                        Destination::of(config, Some(rule), all),
                    )
                })
                .collect(),
            default: Destination::of(config, None, all),
            matching: config.matching,
            unmatched: config.unmatched,
            dropped: metrics::counter!("headgate_pipeline_filtered_events_total", "step" => step.to_string()),
            step,
            places: Vec::new(),
        }
    }

    /// Adds the records that `event` becomes, or its dead letter.
    pub fn route(
        &mut self,
        mut event: Envelope,
        lane: &str,
        records: &mut Vec<RoutedRecord>,
        rejected: &mut Vec<DeadLetter>,
    ) {
        self.places.clear();
        let found = self.find(&mut event, lane);
        // Nobody behind the route looks into the data, and sinks may hold it for long.
        event.data.forget_parsed();
        if let Err((reason, message)) = found {
            // All or nothing: a dead letter that is retried goes by all rules again.
            rejected.push(DeadLetter::new(event, self.step.clone(), reason, message));
            return;
        }
        let Some(last) = self.places.pop() else {
            self.dropped.increment(1);
            return;
        };
        for place in self.places.drain(..) {
            records.push(place.record(event.clone()));
        }
        records.push(last.record(event));
    }

    /// Collects the places that `event` goes to.
    fn find(&mut self, event: &mut Envelope, lane: &str) -> Result<(), Refusal> {
        let mut matched = false;
        for (types, when, destination) in &mut self.rules {
            if !types.includes(&event.event_type) {
                continue;
            }
            let holds = when.as_ref().map_or(Ok(true), |when| when.holds(event));
            if !holds.map_err(|error| (error.reason.into(), error.message))? {
                continue;
            }
            matched = true;
            self.places.push(destination.place(event, lane)?);
            if self.matching == Matching::First {
                break;
            }
        }
        if matched {
            return Ok(());
        }
        match self.unmatched {
            _ if self.rules.is_empty() => self.places.push(self.default.place(event, lane)?),
            Unmatched::Default => self.places.push(self.default.place(event, lane)?),
            Unmatched::Drop => {}
            Unmatched::DeadLetter => {
                return Err((
                    "unmatched".into(),
                    format!(
                        "no rule matches an event of type `{}`: add one, or set `unmatched`",
                        event.event_type
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Destination {
    fn of(config: &Config, rule: Option<&Rule>, all: &[Str]) -> Self {
        let topic = rule
            .and_then(|rule| rule.topic.as_ref())
            .unwrap_or(&config.topic);
        let key = rule
            .and_then(|rule| rule.key.as_ref())
            .unwrap_or(&config.key);
        let sinks = rule
            .and_then(|rule| rule.sinks.as_ref())
            .or(config.sinks.as_ref());
        let mut headers = config.headers.clone();
        headers.extend(rule.into_iter().flat_map(|rule| rule.headers.clone()));
        Self {
            topic: topic.clone(),
            key: key.clone(),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
            sinks: match sinks {
                None => SinkSet::first(all.len()),
                Some(named) => SinkSet::of(
                    named
                        .iter()
                        .filter_map(|name| all.iter().position(|sink| sink == name)),
                ),
            },
            topic_is_plain: topic.to_string() == "{tenantid}.{type}",
            last_topic: None,
        }
    }

    fn place(&mut self, event: &Envelope, lane: &str) -> Result<Place, Refusal> {
        let topic = self.topic(event, lane)?;
        let headers = self.headers.iter();
        Ok(Place {
            topic,
            key: self.key.render(event, lane).ok(),
            headers: headers
                .filter_map(|(name, value)| Some((name.clone(), value.render(event, lane).ok()?)))
                .collect(),
            sinks: self.sinks,
        })
    }

    fn topic(&mut self, event: &Envelope, lane: &str) -> Result<Str, Refusal> {
        if self.topic_is_plain
            && let Some((tenant, event_type, topic)) = &self.last_topic
            && *tenant == event.tenantid
            && *event_type == event.event_type
        {
            return Ok(topic.clone());
        }
        let topic = self.topic.render(event, lane).map_err(|hole| {
            let message = format!(
                "the topic `{}` needs `{hole}`, which this event lacks",
                self.topic
            );
            (Str::new_static("missing_attribute"), message)
        })?;
        if !is_topic_name(&topic) {
            let message = format!(
                "`{topic}` is no topic name: use 1 to 249 of [A-Za-z0-9._-], not starting with `__`; mend the route's `topic`"
            );
            return Err(("invalid_topic".into(), message));
        }
        self.last_topic = Some((
            event.tenantid.clone(),
            event.event_type.clone(),
            topic.clone(),
        ));
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use headgate_sdk::{Data, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    /// Topic, key and the indices of the sinks.
    type To = (String, Option<String>, Vec<usize>);

    fn route(config: Value, event_type: &str, data: &str) -> Result<Vec<To>, String> {
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        let mut router = Router::new(&config, "route", &["main".into(), "audit".into()]);
        let event = Envelope::new(
            "1",
            "urn:s",
            event_type,
            Timestamp::UNIX_EPOCH,
            Data::opaque(data.to_owned()),
        );
        let (mut records, mut rejected) = (Vec::new(), Vec::new());
        router.route(event.clone(), "lane", &mut records, &mut rejected);
        if let Some(letter) = rejected.pop() {
            assert!(records.is_empty());
            return Err(format!("{} {}", letter.step, letter.reason));
        }
        Ok(records
            .into_iter()
            .map(|routed| {
                assert_eq!(routed.record.envelope, event);
                let sinks = (0..2)
                    .filter(|index| routed.sinks.contains(*index))
                    .collect();
                (
                    routed.record.topic.to_string(),
                    routed.record.key.map(|key| key.to_string()),
                    sinks,
                )
            })
            .collect())
    }

    fn to(topic: &str, key: Option<&str>, sinks: &[usize]) -> To {
        (topic.to_owned(), key.map(str::to_owned), sinks.to_vec())
    }

    fn rules() -> Value {
        json!({
            "topic": "rest", "key": "{/id}",
            "rules": [
                {"types": ["invoice.*"], "when": "(to_int(.total) ?? 0) > 1000", "topic": "large", "sinks": ["main"]},
                {"types": ["invoice.*"], "topic": "{type}"},
                {"when": "exists(.audit)", "sinks": ["audit"], "key": "a"},
            ]
        })
    }

    #[test]
    fn the_first_matching_rule_decides() {
        assert_eq!(
            route(rules(), "invoice.paid.v1", r#"{"id":7,"total":5000}"#),
            Ok(vec![to("large", Some("7"), &[0])])
        );
        assert_eq!(
            route(rules(), "invoice.paid.v1", r#"{"id":7,"total":5}"#),
            Ok(vec![to("invoice.paid.v1", Some("7"), &[0, 1])])
        );
        assert_eq!(
            route(rules(), "other.v1", r#"{"audit":1}"#),
            Ok(vec![to("rest", Some("a"), &[1])])
        );
    }

    #[test]
    fn all_matching_rules_decide_if_so_configured() {
        let mut config = rules();
        config["match"] = json!("all");
        let routed = route(config, "invoice.paid.v1", r#"{"total":5000,"audit":1}"#).unwrap();
        assert_eq!(
            routed,
            [
                to("large", None, &[0]),
                to("invoice.paid.v1", None, &[0, 1]),
                to("rest", Some("a"), &[1])
            ]
        );
    }

    #[test]
    fn what_no_rule_matches_has_a_fate() {
        let with = |unmatched: &str| {
            let mut config = rules();
            config["unmatched"] = json!(unmatched);
            route(config, "other.v1", "{}")
        };
        assert_eq!(
            route(rules(), "other.v1", "{}"),
            Err("route unmatched".to_owned())
        );
        assert_eq!(with("dead_letter"), Err("route unmatched".to_owned()));
        assert_eq!(with("drop"), Ok(vec![]));
        assert_eq!(with("default"), Ok(vec![to("rest", None, &[0, 1])]));
    }

    #[test]
    fn a_condition_that_fails_or_a_topic_that_is_none_makes_a_dead_letter() {
        assert_eq!(
            route(rules(), "other.v1", "no json"),
            Err("route invalid_data".to_owned())
        );
        assert_eq!(
            route(json!({"topic": "a b"}), "t", "{}"),
            Err("route invalid_topic".to_owned())
        );
        assert_eq!(
            route(json!({"topic": "__x"}), "t", "{}"),
            Err("route invalid_topic".to_owned())
        );
        assert_eq!(
            route(json!({"topic": "{subject}"}), "t", "{}"),
            Err("route missing_attribute".to_owned())
        );
    }

    #[test]
    fn rules_that_no_event_gets_to_are_found() {
        let unreachable = |rules: Value| {
            let config: Config = serde_json::from_value(json!({"rules": rules})).unwrap();
            config
                .unreachable_rules()
                .into_iter()
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
        };
        assert_eq!(unreachable(json!([{"topic": "a"}, {"types": ["b"]}])), [1]);
        assert_eq!(
            unreachable(json!([{"types": ["a"]}, {"types": ["a"], "when": "exists(.x)"}])),
            [1]
        );
        assert_eq!(
            unreachable(json!([{"types": ["a"], "when": "exists(.x)"}, {"types": ["a"]}, {}])),
            [0; 0]
        );
    }
}
