//! Whether a line goes on with the record of the line before: by the rules of a language's stack traces, or by patterns.
//! Decides line by line; what is joined, and how long it waits, is `join`'s.

use logboom_config::{MultilineRule, Pattern};

/// What the lines so far have been, as far as the next one's meaning depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trace {
    #[default]
    Outside,
    /// Among a trace's frames.
    Inside,
    /// Behind the line that ends a trace.
    Behind,
}

/// Whether `line`, which is not empty, goes on with the record before it.
///
/// The name of an exception alone at the beginning of a line goes on, for loggers write their message first, and what
/// was thrown on the next line.
pub(super) fn continues(rule: &MultilineRule, trace: &mut Trace, line: &[u8]) -> bool {
    match rule {
        MultilineRule::Java => {
            indented(line)
                || begins(line, &["Caused by: ", "Suppressed: "])
                || is_throwable(line, &["Exception", "Error", "Throwable", "Failure"])
        }
        MultilineRule::Dotnet => {
            indented(line) || begins(line, &["--- End of ", "---> "]) || is_throwable(line, &["Exception", "Error"])
        }
        MultilineRule::Python => python(trace, line),
        MultilineRule::Go => go(trace, line),
        MultilineRule::Custom { start, continuation, indented } => {
            custom(start.as_ref(), continuation.as_ref(), *indented, line)
        }
    }
}

fn custom(start: Option<&Pattern>, continuation: Option<&Pattern>, by_indent: bool, line: &[u8]) -> bool {
    if start.is_some_and(|start| start.matches(line)) {
        return false;
    }
    if by_indent && indented(line) {
        return true;
    }
    match continuation {
        Some(continuation) => continuation.matches(line),
        // Where only the start is known, everything else goes on.
        None => start.is_some() && !by_indent,
    }
}

fn python(trace: &mut Trace, line: &[u8]) -> bool {
    if begins(line, &["Traceback (most recent call last):"]) {
        *trace = Trace::Inside;
        return true;
    }
    if indented(line) {
        return true;
    }
    let between = ["During handling of the above exception, ", "The above exception was the direct cause "];
    match *trace {
        // The exception itself ends its trace.
        Trace::Inside => {
            *trace = Trace::Behind;
            true
        }
        Trace::Behind if begins(line, &between) => true,
        _ => {
            *trace = Trace::Outside;
            false
        }
    }
}

fn go(trace: &mut Trace, line: &[u8]) -> bool {
    if begins(line, &["panic: ", "fatal error: "]) {
        *trace = Trace::Inside;
        return false;
    }
    if begins(line, &["goroutine "]) && line.contains(&b'[') {
        *trace = Trace::Inside;
        return true;
    }
    if indented(line) {
        return true;
    }
    let inside = *trace == Trace::Inside
        && (begins(line, &["created by ", "[signal ", "exit status ", "...additional frames elided"])
            || is_frame(line));
    if !inside {
        *trace = Trace::Outside;
    }
    inside
}

/// Whether it is a call in a trace of Go, such as `net/http.(*conn).serve(0xc000, {0x7f})`.
fn is_frame(line: &[u8]) -> bool {
    let Some(open) = line.iter().position(|&byte| byte == b'(') else { return false };
    let name = &line[..open];
    line.ends_with(b")") && !name.contains(&b' ') && (name.contains(&b'.') || name == b"panic")
}

fn indented(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

fn begins(line: &[u8], beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| line.starts_with(beginning.as_bytes()))
}

/// Whether it begins with the full name of something thrown, with its packages, and then a colon or nothing.
fn is_throwable(line: &[u8], endings: &[&str]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$' | b'+' | b'`');
    let end = line.iter().position(|byte| !is_part(byte)).unwrap_or(line.len());
    let name = &line[..end];
    matches!(line.get(end), None | Some(b':'))
        && name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.contains(&b'.')
        && endings.iter().any(|ending| name.ends_with(ending.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first lines of the records that `text` makes.
    fn starts<'a>(rule: &MultilineRule, text: &'a str) -> Vec<&'a str> {
        let mut trace = Trace::default();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.filter(|line| !continues(rule, &mut trace, line.as_bytes())).collect()
    }

    #[test]
    fn a_stack_trace_of_java_belongs_to_the_line_that_logged_it() {
        let text = "\
12:00:01 ERROR [main] c.e.App - it failed
java.lang.IllegalStateException: no luck
\tat com.example.App.run(App.java:12)
\tat com.example.App.main(App.java:5)
\tSuppressed: java.io.IOException: x
\t\tat com.example.A.b(A.java:1)
Caused by: java.io.IOException: disk
\tat com.example.Disk.read(Disk.java:7)
\t... 2 more
12:00:02 INFO [main] c.e.App - go on: Error
Exception in thread \"main\" java.lang.Error: x
\tat com.example.App.main(App.java:5)
Error: Could not find or load main class A";
        let expected = [
            "12:00:01 ERROR [main] c.e.App - it failed",
            "12:00:02 INFO [main] c.e.App - go on: Error",
            "Exception in thread \"main\" java.lang.Error: x",
            "Error: Could not find or load main class A",
        ];
        assert_eq!(starts(&MultilineRule::Java, text), expected);
    }

    #[test]
    fn chained_tracebacks_of_python_are_one_record() {
        let text = "\
ERROR:root:it failed
Traceback (most recent call last):
  File \"a.py\", line 3, in f
    g()
    ~^^
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"a.py\", line 5, in <module>
    f()
ValueError: no luck
INFO:root:go on
ValueError: no trace";
        let expected = ["ERROR:root:it failed", "INFO:root:go on", "ValueError: no trace"];
        assert_eq!(starts(&MultilineRule::Python, text), expected);
    }

    #[test]
    fn a_panic_of_go_is_one_record_with_all_its_goroutines() {
        let text = "\
2023/11/21 09:04:11 start
panic: runtime error: index out of range [5] with length 3 [recovered]
\tpanic: again

goroutine 1 [running]:
main.f(...)
\t/tmp/a.go:8
panic({0x45e2c0?, 0x4a0b18?})
\t/usr/lib/go/src/runtime/panic.go:770 +0x132
net/http.(*conn).serve(0xc0000b2000, {0x7f1, 0x2})
\t/usr/lib/go/src/net/http/server.go:1 +0x1
created by main.main in goroutine 1
\t/tmp/a.go:9 +0x1d

goroutine 7 [chan receive]:
main.main.func1()
\t/tmp/a.go:12 +0x25
exit status 2
2023/11/21 09:04:12 main.f() was called
main.f()";
        let expected = [
            "2023/11/21 09:04:11 start",
            "panic: runtime error: index out of range [5] with length 3 [recovered]",
            "2023/11/21 09:04:12 main.f() was called",
            "main.f()",
        ];
        assert_eq!(starts(&MultilineRule::Go, text), expected);
    }

    #[test]
    fn a_stack_trace_of_dotnet_is_one_record() {
        let text = "\
fail: App.Worker[0]
      it failed
Unhandled exception. System.InvalidOperationException: no luck
 ---> System.IO.IOException: disk
   at App.Disk.Read() in /app/Disk.cs:line 7
   --- End of inner exception stack trace ---
   at App.Program.Main(String[] args)
--- End of stack trace from previous location ---
   at App.Program.<Main>(String[] args)
2023-11-21 ERROR it failed
System.AggregateException: One or more errors occurred.
   at App.Program.Main()
info: App[0]";
        let expected = [
            "fail: App.Worker[0]",
            "Unhandled exception. System.InvalidOperationException: no luck",
            "2023-11-21 ERROR it failed",
            "info: App[0]",
        ];
        assert_eq!(starts(&MultilineRule::Dotnet, text), expected);
    }

    #[test]
    fn patterns_and_indentation_say_what_goes_on() {
        let custom = |start: Option<&str>, continuation: Option<&str>, indented| MultilineRule::Custom {
            start: start.map(|text| text.parse().unwrap()),
            continuation: continuation.map(|text| text.parse().unwrap()),
            indented,
        };
        let text = "1 a\nb\n c\n> d\n2 e";
        for (rule, expected) in [
            (custom(Some(r"^\d "), None, false), &["1 a", "2 e"][..]),
            (custom(None, Some("^> "), false), &["1 a", "b", " c", "2 e"]),
            (custom(None, None, true), &["1 a", "b", "> d", "2 e"]),
            (custom(Some(r"^\d "), Some("^> "), true), &["1 a", "b", "2 e"]),
            (custom(Some("^>"), Some("."), true), &["> d"]),
        ] {
            assert_eq!(starts(&rule, text), expected, "{rule:?}");
        }
    }
}
