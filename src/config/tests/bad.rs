//! Files that are refused, and what they are told.

use super::{load, told};

#[test]
fn everything_at_once_in_order() {
    let text = r#"
tenent: acme
http: { listen: 8080 }
shards: four
sources:
  github:
    type: push
    secret: ["${SECRET}"]
    max_body: 5 megabytes
    timeout: 30
    scheme: githbu
  crm: { type: pul, url: "${DB}" }
  ledger: { type: pull, url: "${NOT_SET}", tables: public.accounts, pipeline: pii }
pipelines:
  default:
    - filtr: { equals: {} }
    - rate_limit: { limit: 100 per minute, on_limit: drop }
      route: {}
    - route: { topic: "x", sinks: [mian] }
sinks:
  main: { type: log, reqired: true }
"#;
    insta::assert_snapshot!(told(text), @r"
        headgate.yaml:2:1: tenent: unknown key; did you mean `tenant`?
        headgate.yaml:3:17: http.listen: `8080` is not an address and port; write for example `127.0.0.1:8080` or `[::]:8080`
        headgate.yaml:4:9: shards: a whole number is expected, found text
        headgate.yaml:8:5: sources.github.secret: unknown key; did you mean `secrets`?
        headgate.yaml:9:15: sources.github.max_body: unknown unit `megabytes` in `5 megabytes`; the units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)
        headgate.yaml:10:14: sources.github.timeout: `30` has no unit; write for example `30s` for seconds or `30m` for minutes
        headgate.yaml:11:13: sources.github.scheme: unknown value `githbu`; did you mean `github`?
        headgate.yaml:12:16: sources.crm.type: unknown value `pul`; did you mean `pull`?
        headgate.yaml:13:30: sources.ledger.url: the environment variable `NOT_SET` is not set; export it, or give a default with `${NOT_SET:-…}`
        headgate.yaml:13:52: sources.ledger.tables: a list is expected; write `[public.accounts]`
        headgate.yaml:13:79: sources.ledger.pipeline: there is no pipeline `pii`; write `default`, or add `pii` under `pipelines`
        headgate.yaml:16:7: pipelines.default[0].filtr: unknown key; did you mean `filter`?
        headgate.yaml:17:7: pipelines.default[1]: holds several keys, but needs exactly one of `dedup`, `filter`, `keep_fields`, `max_age`, `max_hops`, `rate_limit`, `redact`, `remove`, `rename`, `route`, `set`, `transform` or `validate`; start the next with a `-` of its own, or indent what belongs to `rate_limit`
        headgate.yaml:17:28: pipelines.default[1].rate_limit.limit: `100 per minute` is not a rate; write a number, a slash and a period, such as `100/minute`
        headgate.yaml:17:54: pipelines.default[1].rate_limit.on_limit: unknown value `drop`; write `reject`, `wait` or `dead_letter`
        headgate.yaml:19:36: pipelines.default[2].route.sinks[0]: there is no sink `mian`; did you mean `main`?
        headgate.yaml:21:22: sinks.main.reqired: unknown key; did you mean `required`?
        ");
}

#[test]
fn syntax() {
    for text in [
        "",
        "# nothing\n",
        "a: b: c",
        "sources:\n\tgithub: x",
        "a: [1, 2",
        "a: \"x",
        "---\na: 1\n---\nb: 2\n",
        "keep: %type",
        "a: *x",
        "a: !Thing 1",
        "[a]: 1",
        "just text",
    ] {
        assert!(load(text).is_err(), "{text}");
    }
    let told: Vec<_> = [
        "",
        "a: b: c",
        "sources:\n\tgithub: x",
        "a: [1, 2",
        "---\na: 1\n---\nb: 2\n",
        "keep: %type",
        "a: *x",
        "a: !Thing 1",
        "[a]: 1",
        "just text",
    ]
    .map(told)
    .to_vec();
    insta::assert_snapshot!(told.join("\n"), @r"
        headgate.yaml:1:1: the file is empty; `headgate init` writes a commented configuration to start from
        headgate.yaml:1:5: not valid YAML (mapping values are not allowed in this context); check indentation, quotes and brackets here and on the line above
        headgate.yaml:2:2: this line is indented with a tab; YAML indents with spaces only
        headgate.yaml:2:1: not valid YAML (while parsing a flow sequence, expected ',' or ']'); check indentation, quotes and brackets here and on the line above
        headgate.yaml:3:1: a second document starts here (`---`); keep one configuration per file
        headgate.yaml:1:7: not valid YAML (unexpected character: `%'); put quotes around the value, since it starts with a character that YAML gives a meaning
        headgate.yaml:1:4: not valid YAML (while parsing node, found unknown anchor); check indentation, quotes and brackets here and on the line above
        headgate.yaml:1:4: the tag `!Thing` means nothing here; leave it out
        headgate.yaml:1:1: a key must be text, not a list or a map; put quotes around it if it starts with `[`, `{` or `?`
        headgate.yaml:1:1: a map of keys is expected, found text
        ");
}

#[test]
fn duplicate_and_merge_keys() {
    insta::assert_snapshot!(told("tenant: a\ngroup: b\ntenant: c\nhttp: { <<: { listen: 127.0.0.1:1 } }"), @r"
        headgate.yaml:3:1: `tenant` is given twice; the first is on line 1; keep one
        headgate.yaml:4:9: merge keys (`<<`) are not part of YAML 1.2; write the keys out
        ");
}

#[test]
fn alias_bombs_and_depth() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}", n - 1);
        bomb += &format!("a{n}: &a{n} [{}]\n", [before.as_str(); 10].join(", "));
    }
    let deep = format!("a: {}{}", "[".repeat(70), "]".repeat(70));
    let own = "a: &a [1, *a]";
    insta::assert_snapshot!([told(&bomb), told(&deep), told(own)].join("\n"), @r"
        headgate.yaml:5:45: aliases unfold to more than 100000 values here; write the values out
        headgate.yaml:1:67: nested deeper than 64 levels
        headgate.yaml:1:11: this alias stands inside the value that it refers to; a configuration cannot contain itself
        ");
}

#[test]
fn wrong_types() {
    let text = r#"
sources:
  a:
    type: push
    secrets: "${SECRET}"
    empty: yes
    concurrency: "4"
    path: 12
    max_body: [1]
  b:
    type: push
    secrets: literal
    concurrency: 0
    max_body: -1
    timeout:
  c: [push]
  d:
  e: { type: push, secrets: [] }
  f:
    type: push
    secrets: ["${EMPTY}"]
    concurrency: ${SECRET}
"#;
    insta::assert_snapshot!(told(text), @r#"
        headgate.yaml:5:14: sources.a.secrets: a list is expected; write it in brackets, as in `["${NAME}"]`
        headgate.yaml:6:12: sources.a.empty: write `true` or `false` instead of `yes`
        headgate.yaml:7:18: sources.a.concurrency: a number is expected; write it without quotes if `4` is one
        headgate.yaml:8:11: sources.a.path: text is expected, found the number 12; put it in quotes
        headgate.yaml:9:5: sources.a.max_body: a size such as `64MB` is expected, found a list
        headgate.yaml:12:14: sources.b.secrets: a list is expected; write it in brackets, as in `["${NAME}"]`
        headgate.yaml:13:18: sources.b.concurrency: must be at least 1
        headgate.yaml:14:15: sources.b.max_body: must be at least 0
        headgate.yaml:15:5: sources.b.timeout: has no value; write a duration such as `30s`, or remove the key
        headgate.yaml:16:3: sources.c: a map of keys is expected, found a list
        headgate.yaml:17:3: sources.d: has no value; write a map of keys, or remove the key
        headgate.yaml:18:20: sources.e.secrets: the list is empty; write at least one item
        headgate.yaml:21:15: sources.f.secrets[0]: the secret is empty; a secret that everybody knows protects nothing
        headgate.yaml:22:18: sources.f.concurrency: a whole number is expected, but what was filled in here is text
        "#);
}

#[test]
fn tagged_forms() {
    let text = r#"
sources:
  a: { type: push, secrets: [x], verify: { alg: hmca, header: x } }
  b: { type: push, secrets: [x], verify: { alg: hmac, heder: x } }
  c: { type: push, secrets: [x], verify: { header: x } }
  d: { type: push, secrets: [x], verify: { alg: hmac, header: '' } }
  e: { type: push, secrets: [x], scheme: stripe, verify: { alg: token, token: x } }
  f: { type: push, secrets: [x], verify: hmac }
"#;
    insta::assert_snapshot!(told(text), @r"
        headgate.yaml:3:49: sources.a.verify.alg: unknown value `hmca`; did you mean `hmac`?
        headgate.yaml:4:55: sources.b.verify.heder: unknown key; did you mean `header`?
        headgate.yaml:5:34: sources.c.verify: the key `alg` is missing; add it
        headgate.yaml:6:63: sources.d.verify.header: the header's name is empty; write for example `x-signature`
        headgate.yaml:7:42: sources.e.scheme: `scheme` and `verify` exclude each other; keep one
        headgate.yaml:8:42: sources.f.verify: a map of keys is expected, found text
        ");
}

#[test]
fn secrets_that_are_not_there() {
    let text = r#"
sources:
  a: { type: push, secrets: ["${NOPE}", "file:/run/secrets/nope", "file:/run/secrets/empty", "file:", "${half", "${a b}"] }
  b: { type: pull, url: "http:${SECRET}", tables: [x] }
"#;
    insta::assert_snapshot!(told(text), @r"
        headgate.yaml:3:30: sources.a.secrets[0]: the environment variable `NOPE` is not set; export it, or give a default with `${NOPE:-…}`
        headgate.yaml:3:41: sources.a.secrets[1]: cannot read the secret from `/run/secrets/nope`: entity not found; check the path and that this user may read it
        headgate.yaml:3:67: sources.a.secrets[2]: `/run/secrets/empty` is empty; write the secret into it
        headgate.yaml:3:94: sources.a.secrets[3]: `file:` needs a path, such as `file:/run/secrets/github`
        headgate.yaml:3:103: sources.a.secrets[4]: `${` is never closed; write `${NAME}`, or `$${` for the characters themselves
        headgate.yaml:3:113: sources.a.secrets[5]: a variable is written `${NAME}` or `${NAME:-default}`, its name of letters, digits and `_`; a literal `${` is written `$${`
        headgate.yaml:4:25: sources.b.url: is not the URL of a database; write `db://…`
        ");
}

#[test]
fn one_mistake_hides_no_other_in_its_section() {
    let text = r#"
sources:
  a: { type: push, secrets: [x], timeout: 5, verify: { alg: hmac, header: '' } }
  b: { type: push, secrets: ["${NOPE}"], verify: { alg: hmac, header: '' } }
  c: { type: push, secrets: "${NOPE}", scheme: stripe, verify: { alg: token, token: x } }
  d: { type: push, secrets: [''], tenant: '!', scheme: stripe, verify: { alg: token, token: x } }
  e: { type: pull, url: x, tables: [y], tabels: [z] }
  f: { type: pull, url: "${NOPE}", tabels: [z] }
sinks:
  main: { type: kafka, brokers: "localhost:9092,", lingr: 5ms }
"#;
    insta::assert_snapshot!(told(text), @r"
        headgate.yaml:3:43: sources.a.timeout: `5` has no unit; write for example `5s` for seconds or `5m` for minutes
        headgate.yaml:3:75: sources.a.verify.header: the header's name is empty; write for example `x-signature`
        headgate.yaml:4:30: sources.b.secrets[0]: the environment variable `NOPE` is not set; export it, or give a default with `${NOPE:-…}`
        headgate.yaml:4:71: sources.b.verify.header: the header's name is empty; write for example `x-signature`
        headgate.yaml:5:29: sources.c.secrets: the environment variable `NOPE` is not set; export it, or give a default with `${NOPE:-…}`
        headgate.yaml:6:30: sources.d.secrets[0]: the secret is empty; a secret that everybody knows protects nothing
        headgate.yaml:6:43: sources.d.tenant: `!` does not fit: a tenant is made of letters, digits, `.`, `-` and `_`, starts with a letter or digit, and has at most 63 characters
        headgate.yaml:7:25: sources.e.url: is not the URL of a database; write `db://…`
        headgate.yaml:7:41: sources.e.tabels: unknown key; did you mean `tables`?
        headgate.yaml:8:25: sources.f.url: the environment variable `NOPE` is not set; export it, or give a default with `${NOPE:-…}`
        headgate.yaml:8:36: sources.f.tabels: unknown key; did you mean `tables`?
        headgate.yaml:10:33: sinks.main.brokers: `` is not `host:port`; write for example `localhost:9092`
        headgate.yaml:10:52: sinks.main.lingr: unknown key; did you mean `linger`?
        ");
}

#[test]
fn across_sections() {
    let text = r#"
http: { listen: 0.0.0.0:9600 }
sources:
  a: { type: push, secrets: [x], path: /in }
  b: { type: push, secrets: [x], path: /in }
  c: { type: push, secrets: [x], pipeline: defualt }
pipeline:
  - route: { sinks: [nowhere] }
  - rate_limit: { per: client, limit: 1/s, on_limit: wait }
  - rate_limit: { per: "header:", limit: 1/s }
  - rate_limit: { types: ["a.*"], limit: 1/s }
  - route: { topic: "{tenantid" }
pipelines:
  other: []
"#;
    insta::assert_snapshot!(told(text), @r"
        headgate.yaml:2:17: http.listen: `http` and `admin` both listen on port 9600; give one of them another port
        headgate.yaml:5:3: sources.b: the source `a` on line 4 answers on `/in` already; give one of them another `path`
        headgate.yaml:6:44: sources.c.pipeline: there is no pipeline `defualt`; did you mean `default`?
        headgate.yaml:7:1: pipeline: `pipeline` is short for `pipelines` with a single `default`; keep one of the two
        headgate.yaml:8:22: pipeline[0].route.sinks[0]: there is no sink `nowhere`; write `main`, or add `nowhere` under `sinks`
        headgate.yaml:9:5: pipeline[1].rate_limit: this step stands behind `route`, which decides last; move it before `route`
        headgate.yaml:9:54: pipeline[1].rate_limit.on_limit: `per: client` is known only when a request arrives, so that nothing can wait by it later; write `on_limit: reject`, or count `per: source` or `per: tenant`
        headgate.yaml:10:24: pipeline[2].rate_limit.per: `header:` is not known here: write `source`, `tenant`, `client` or `header:NAME`
        headgate.yaml:11:5: pipeline[3].rate_limit: this step stands behind `route`, which decides last; move it before `route`
        headgate.yaml:11:19: pipeline[3].rate_limit.types: the type of an event is known only when its body was read, so that nothing can be rejected at the door by it; write `on_limit: wait` or `on_limit: dead_letter`, or limit all types
        headgate.yaml:12:21: pipeline[4].route.topic: `{` is not closed: write `{{` for a brace (at character 1)
        ");
}

#[test]
fn claim_check_stores() {
    let text = "claim_check: { s3: { bucket: in, endpoint: minio } }\n";
    insta::assert_snapshot!(told(text), @r"
        headgate.yaml:1:30: claim_check.s3.bucket: must have at least 3 characters
        headgate.yaml:1:44: claim_check.s3.endpoint: `minio` is not a URL of the web; write for example `https://hooks.example.com`
        ");
    let text = "claim_check: { folder: ./blobs, s3: { bucket: invoices, access_key_id: k } }\n";
    insta::assert_snapshot!(told(text), @r"
        headgate.yaml:1:16: claim_check.folder: payloads lie in a folder or in a bucket: keep one of `folder` and `s3`
        headgate.yaml:1:33: claim_check.s3: write `access_key_id` and `secret_access_key` both, or neither (then the environment or the machine gives them)
        ");
}

#[test]
fn names() {
    let text = "group: Über\ntenant: ''\npublic_url: hooks.example.com\nsources: { 'a b': { type: push, secrets: [x] }, '': { type: push, secrets: [x] } }";
    insta::assert_snapshot!(told(text), @r#"
        headgate.yaml:1:8: group: `Über` does not fit: a group starts with a lower-case letter and goes on with lower-case letters, digits, `-` and `_`, at most 48 in all
        headgate.yaml:2:9: tenant: `` does not fit: a tenant is made of letters, digits, `.`, `-` and `_`, starts with a letter or digit, and has at most 63 characters
        headgate.yaml:3:13: public_url: `hooks.example.com` is not a URL of the web; write for example `https://hooks.example.com`
        headgate.yaml:4:12: sources["a b"]: a name is made of letters, digits, `-` and `_`, starts with a letter or digit, and has at most 63 characters
        headgate.yaml:4:49: sources[""]: a name is made of letters, digits, `-` and `_`, starts with a letter or digit, and has at most 63 characters
        "#);
}

#[test]
fn exactly_once_stands_alone() {
    let text = r#"
sinks:
  main: { type: kafka, brokers: "k:9092", delivery: exactly_once, buffer: log }
  other: { type: kafka, brokers: "k:9092", delivery: exactly_once, required: false }
  third: { type: log }
"#;
    insta::assert_snapshot!(told(text), @r"
        headgate.yaml:3:53: sinks.main.delivery: cannot be `exactly_once` behind `buffer: log`, which is read again after a crash; remove `buffer`
        headgate.yaml:3:53: sinks.main.delivery: cannot be `exactly_once` beside `third`, which sources wait for too; write `required: false` there
        headgate.yaml:4:54: sinks.other.delivery: cannot be `exactly_once` with `required: false`: nobody waits for this sink; remove `required`
        ");
}

proptest::proptest! {
    /// Whatever stands in a file, loading it ends with a configuration or with findings, never with a panic.
    #[test]
    fn never_panics(text in "([a-z]{1,3}: ?|- |[\\[\\]{},&*!%@#|>'\"]|\\$\\{[A-Z]*|\n {0,4}|[0-9]{1,3}[a-z]?){0,40}") {
        let _ = load(&text);
    }

    /// One character changed anywhere in a good file.
    #[test]
    fn survives_any_edit(at in 0usize..300, with in proptest::prelude::any::<char>()) {
        let good = "tenant: acme\nsources:\n  github: { type: push, secrets: ['${SECRET}'], max_body: 1MB }\n  crm:\n    type: pull\n    url: ${DB}\n    tables: [a]\npipelines:\n  default:\n    - filter: { equals: { type: [a.v1] } }\n    - route: { sinks: [main] }\n";
        let edited: String = good.chars().enumerate().map(|(n, c)| if n == at { with } else { c }).collect();
        let _ = load(&edited);
    }
}
