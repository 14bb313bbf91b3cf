//! What hand-written guests import: each interface only as far as they use it.

/// An interface that a guest may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    /// `log(level, target, message, fields)`: `$log`.
    Logging,
    /// `count(name, labels, amount)`: `$count`.
    Metrics,
    /// `healthy(message)`, `unhealthy(message)`, `raise(severity, name, message)`: `$healthy`, `$unhealthy`, `$raise`.
    Status,
    /// `poll` and the monotonic clock: `$block` and `$drop` of a pollable, `$ready`, `$now`, `$after` (nanoseconds).
    Clock,
    /// A number of chance: `$chance`.
    Chance,
    /// `connect(host, port, tls)`: `$connect`, whose last parameter is where the answer goes.
    Net,
    /// As `Net`, and what comes of a connection being made: `$connect`, `$subscribe`, `$abandon`.
    Children,
    /// Sockets of WASI: `$socket` makes one; its last parameter is where the answer goes.
    Sockets,
    /// Arguments, variables, standard input: `$arguments`, `$variables` (where the answer goes).
    Surroundings,
}

impl Import {
    /// The import of the component.
    pub(crate) fn declaration(self) -> &'static str {
        match self {
            Self::Logging => {
                r#"
  (import "ferrule:connector/logging@0.1.0" (instance $logging
    (type $level (enum "trace" "debug" "info" "warn" "error"))
    (export "level" (type $level-x (eq $level)))
    (export "log" (func (param "level" $level-x) (param "target" string) (param "message" string)
      (param "fields" (list (tuple string string)))))))
"#
            }
            Self::Metrics => {
                r#"
  (import "ferrule:connector/metrics@0.1.0" (instance $metrics
    (export "count" (func (param "name" string) (param "labels" (list (tuple string string))) (param "amount" u64)))))
"#
            }
            Self::Status => {
                r#"
  (import "ferrule:connector/status@0.1.0" (instance $status
    (type $severity (enum "info" "warning" "critical"))
    (export "severity" (type $severity-x (eq $severity)))
    (export "healthy" (func (param "message" string)))
    (export "unhealthy" (func (param "message" string)))
    (export "raise" (func (param "severity" $severity-x) (param "name" string) (param "message" string)))))
"#
            }
            Self::Clock => {
                r#"
  (import "wasi:io/poll@0.2.12" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))
    (export "[method]pollable.ready" (func (param "self" (borrow $pollable)) (result bool)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.12" (instance $clock
    (alias outer 1 $pollable (type $p))
    (export "pollable" (type $pollable (eq $p)))
    (export "now" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
"#
            }
            Self::Chance => {
                r#"
  (import "wasi:random/random@0.2.12" (instance $random (export "get-random-u64" (func (result u64)))))
"#
            }
            Self::Net => {
                r#"
  (import "ferrule:connector/net@0.1.0" (instance $net
    (export "connecting" (type $connecting (sub resource)))
    (type $failure (variant (case "denied" string) (case "unknown-name" string) (case "unreachable" string)
      (case "unsupported" string) (case "invalid" string)))
    (export "failure" (type $failure-x (eq $failure)))
    (type $tls (record (field "server-name" (option string)) (field "protocols" (list string))
      (field "properties" (list (tuple string string)))))
    (export "tls-options" (type $tls-x (eq $tls)))
    (export "connect" (func (param "host" string) (param "port" u16) (param "tls" (option $tls-x))
      (result (result (own $connecting) (error $failure-x)))))))
"#
            }
            Self::Children => {
                r#"
  (import "wasi:io/poll@0.2.12" (instance $poll (export "pollable" (type $pollable (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "ferrule:connector/net@0.1.0" (instance $net
    (alias outer 1 $pollable (type $p))
    (export "pollable" (type $pollable-x (eq $p)))
    (export "connecting" (type $connecting (sub resource)))
    (type $failure (variant (case "denied" string) (case "unknown-name" string) (case "unreachable" string)
      (case "unsupported" string) (case "invalid" string)))
    (export "failure" (type $failure-x (eq $failure)))
    (type $tls (record (field "server-name" (option string)) (field "protocols" (list string))
      (field "properties" (list (tuple string string)))))
    (export "tls-options" (type $tls-x (eq $tls)))
    (export "[method]connecting.subscribe" (func (param "self" (borrow $connecting)) (result (own $pollable-x))))
    (export "connect" (func (param "host" string) (param "port" u16) (param "tls" (option $tls-x))
      (result (result (own $connecting) (error $failure-x)))))))
  (alias export $net "connecting" (type $connecting))
"#
            }
            Self::Sockets => {
                r#"
  (import "wasi:sockets/network@0.2.12" (instance $network
    (type $code (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $code)))
    (type $family (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $family)))))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/tcp@0.2.12" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $tcp-socket))
  (import "wasi:sockets/tcp-create-socket@0.2.12" (instance $create
    (alias outer 1 $code (type $c))
    (export "error-code" (type $code (eq $c)))
    (alias outer 1 $family (type $f))
    (export "ip-address-family" (type $family (eq $f)))
    (alias outer 1 $tcp-socket (type $s))
    (export "tcp-socket" (type $socket (eq $s)))
    (export "create-tcp-socket" (func (param "address-family" $family)
      (result (result (own $socket) (error $code)))))))
"#
            }
            Self::Surroundings => {
                r#"
  (import "wasi:cli/environment@0.2.12" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "get-arguments" (func (result (list string))))))
"#
            }
        }
    }

    /// The functions of the import as core functions.
    pub(crate) fn lowered(self) -> &'static str {
        match self {
            Self::Logging => {
                r#"
  (alias export $logging "log" (func $log))
  (core func $log-l (canon lower (func $log) (memory $mem)))
"#
            }
            Self::Metrics => {
                r#"
  (alias export $metrics "count" (func $count))
  (core func $count-l (canon lower (func $count) (memory $mem)))
"#
            }
            Self::Status => {
                r#"
  (alias export $status "healthy" (func $healthy))
  (core func $healthy-l (canon lower (func $healthy) (memory $mem)))
  (alias export $status "unhealthy" (func $unhealthy))
  (core func $unhealthy-l (canon lower (func $unhealthy) (memory $mem)))
  (alias export $status "raise" (func $raise))
  (core func $raise-l (canon lower (func $raise) (memory $mem)))
"#
            }
            Self::Clock => {
                r#"
  (alias export $poll "[method]pollable.block" (func $block))
  (core func $block-l (canon lower (func $block)))
  (alias export $poll "[method]pollable.ready" (func $ready))
  (core func $ready-l (canon lower (func $ready)))
  (core func $drop-l (canon resource.drop $pollable))
  (alias export $clock "now" (func $now))
  (core func $now-l (canon lower (func $now)))
  (alias export $clock "subscribe-duration" (func $after))
  (core func $after-l (canon lower (func $after)))
"#
            }
            Self::Chance => {
                r#"
  (alias export $random "get-random-u64" (func $chance))
  (core func $chance-l (canon lower (func $chance)))
"#
            }
            Self::Net => {
                r#"
  (alias export $net "connect" (func $connect))
  (core func $connect-l (canon lower (func $connect) (memory $mem) (realloc (core func $realloc))))
"#
            }
            Self::Children => {
                r#"
  (alias export $net "connect" (func $connect))
  (core func $connect-l (canon lower (func $connect) (memory $mem) (realloc (core func $realloc))))
  (alias export $net "[method]connecting.subscribe" (func $subscribe))
  (core func $subscribe-l (canon lower (func $subscribe)))
  (core func $abandon-l (canon resource.drop $connecting))
"#
            }
            Self::Sockets => {
                r#"
  (alias export $create "create-tcp-socket" (func $socket))
  (core func $socket-l (canon lower (func $socket) (memory $mem)))
"#
            }
            Self::Surroundings => {
                r#"
  (alias export $environment "get-arguments" (func $arguments))
  (core func $arguments-l (canon lower (func $arguments) (memory $mem) (realloc (core func $realloc))))
  (alias export $environment "get-environment" (func $variables))
  (core func $variables-l (canon lower (func $variables) (memory $mem) (realloc (core func $realloc))))
"#
            }
        }
    }

    /// What the core module is given.
    pub(crate) fn given(self) -> &'static str {
        match self {
            Self::Logging => r#"(export "log" (func $log-l))"#,
            Self::Metrics => r#"(export "count" (func $count-l))"#,
            Self::Status => {
                r#"(export "healthy" (func $healthy-l)) (export "unhealthy" (func $unhealthy-l)) (export "raise" (func $raise-l))"#
            }
            Self::Clock => {
                r#"(export "block" (func $block-l)) (export "ready" (func $ready-l)) (export "drop" (func $drop-l))
                (export "now" (func $now-l)) (export "after" (func $after-l))"#
            }
            Self::Chance => r#"(export "chance" (func $chance-l))"#,
            Self::Net => r#"(export "connect" (func $connect-l))"#,
            Self::Children => {
                r#"(export "connect" (func $connect-l)) (export "subscribe" (func $subscribe-l)) (export "abandon" (func $abandon-l))"#
            }
            Self::Sockets => r#"(export "socket" (func $socket-l))"#,
            Self::Surroundings => {
                r#"(export "arguments" (func $arguments-l)) (export "variables" (func $variables-l))"#
            }
        }
    }

    /// What the core module imports.
    pub(crate) fn core(self) -> &'static str {
        match self {
            Self::Logging => {
                r#"
    (import "host" "log" (func $log (param i32 i32 i32 i32 i32 i32 i32)))"#
            }
            Self::Metrics => {
                r#"
    (import "host" "count" (func $count (param i32 i32 i32 i32 i64)))"#
            }
            Self::Status => {
                r#"
    (import "host" "healthy" (func $healthy (param i32 i32)))
    (import "host" "unhealthy" (func $unhealthy (param i32 i32)))
    (import "host" "raise" (func $raise (param i32 i32 i32 i32 i32)))"#
            }
            Self::Clock => {
                r#"
    (import "host" "block" (func $block (param i32)))
    (import "host" "ready" (func $ready (param i32) (result i32)))
    (import "host" "drop" (func $drop (param i32)))
    (import "host" "now" (func $now (result i64)))
    (import "host" "after" (func $after (param i64) (result i32)))"#
            }
            Self::Chance => {
                r#"
    (import "host" "chance" (func $chance (result i64)))"#
            }
            Self::Net => {
                r#"
    (import "host" "connect" (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#
            }
            Self::Children => {
                r#"
    (import "host" "connect" (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "subscribe" (func $subscribe (param i32) (result i32)))
    (import "host" "abandon" (func $abandon (param i32)))"#
            }
            Self::Sockets => {
                r#"
    (import "host" "socket" (func $socket (param i32 i32)))"#
            }
            Self::Surroundings => {
                r#"
    (import "host" "arguments" (func $arguments (param i32)))
    (import "host" "variables" (func $variables (param i32)))"#
            }
        }
    }
}
