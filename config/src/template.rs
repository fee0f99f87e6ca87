//! Categories, and the templates that name them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Unparsable, quoted};

/// The most bytes that a category may have.
pub const CATEGORY_BYTES_MAX: usize = 256;

/// Whether `category` may name records: 1 to [`CATEGORY_BYTES_MAX`] bytes, no control characters.
pub fn category_is_valid(category: &str) -> bool {
    (1..=CATEGORY_BYTES_MAX).contains(&category.len()) && !category.chars().any(char::is_control)
}

/// A category with placeholders, such as `nginx.{file_stem}`, parsed once and rendered often.
///
/// | placeholder | becomes |
/// |---|---|
/// | `{file_stem}` | the file name up to its first dot: `access` for `access.log.1`; a leading dot is skipped, and when nothing is left it is the file name |
/// | `{file_name}` | the last component of the path |
/// | `{source}` | the name of the source |
/// | `{host}` | the host that the records come from |
/// | `{category}` | the category that the record has so far, in a rule |
/// | `{app_name}`, `{hostname}`, `{facility}` | the record's attribute `syslog.app_name`, `syslog.hostname`, `syslog.facility` |
/// | `{tag}` | its attribute `fluent.tag` |
/// | `{severity}` | its severity as it was written |
/// | a name with a dot, such as `{service.name}` | its attribute of that name |
///
/// What a record does not have becomes the name of the source.
///
/// `{{` and `}}` stand for a brace. `Display` gives the text back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    FileStem,
    FileName,
    Source,
    Host,
    Category,
    Severity,
    /// The name of an attribute.
    Attribute(String),
}

/// Placeholders that are short for an attribute.
const SHORT: [(&str, &str); 4] = [
    ("app_name", "syslog.app_name"),
    ("hostname", "syslog.hostname"),
    ("facility", "syslog.facility"),
    ("tag", "fluent.tag"),
];

/// What the placeholders of a [`Template`] stand for that only a record can fill.
pub trait RecordValues {
    /// The record's attribute of this name.
    fn attribute(&self, name: &str) -> Option<&str>;
    /// Its severity as it was written; empty for none.
    fn severity(&self) -> &str;
    /// The category that it has so far; none where a category is first chosen.
    fn category(&self) -> Option<&str> {
        None
    }
}

/// No record at hand.
struct NoRecord;

impl RecordValues for NoRecord {
    fn attribute(&self, _: &str) -> Option<&str> {
        None
    }

    fn severity(&self) -> &str {
        ""
    }
}

/// What the placeholders of a [`Template`] stand for.
#[derive(Clone, Copy, Debug)]
pub struct TemplateValues<'a> {
    /// The file that the records come from, when they come from a file.
    pub file_path: Option<&'a Path>,
    /// The name of the source.
    pub source: &'a str,
    /// The host that the records come from.
    pub host: &'a str,
}

impl Template {
    /// A template without placeholders: renders to `category` as it is, braces included.
    pub fn fixed(category: &str) -> Template {
        Template { parts: vec![Part::Text(category.to_owned())] }
    }

    /// The file's stem: what file sources use when they name no category.
    pub(crate) fn file_stem() -> Template {
        Template { parts: vec![Part::FileStem] }
    }

    /// The source's name: what the other sources use when they name no category.
    pub(crate) fn source_name() -> Template {
        Template { parts: vec![Part::Source] }
    }

    /// What records say under this name.
    pub(crate) fn field(name: &str) -> Template {
        Template { parts: placeholder(name).into_iter().collect() }
    }

    /// The text, where there are no placeholders in it.
    pub fn plain(&self) -> Option<&str> {
        match &self.parts[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it has the placeholder that only a record with a category can fill.
    pub(crate) fn needs_category(&self) -> bool {
        self.parts.contains(&Part::Category)
    }

    /// Whether it has placeholders that only a record can fill: one more than its category.
    pub fn needs_record(&self) -> bool {
        !self.needs_only(|_| false)
    }

    /// Whether it can be filled in without a record, given the attributes for which `known` says so.
    pub fn needs_only(&self, known: impl Fn(&str) -> bool) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Severity => false,
            Part::Attribute(name) => known(name),
            _ => true,
        })
    }

    /// Whether it has placeholders that only a file can fill.
    pub fn needs_file(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::FileStem | Part::FileName))
    }

    /// Fills the placeholders in. A file's placeholder without a file becomes the source's name.
    ///
    /// File names and hosts are not ours to choose, so the result may be too long or hold control
    /// characters: ask [`category_is_valid`] before it is used.
    pub fn render(&self, values: &TemplateValues<'_>) -> String {
        let mut text = String::new();
        self.render_into(values, &NoRecord, &mut text);
        text
    }

    /// The same for a record, added to `text`.
    pub fn render_into(&self, values: &TemplateValues<'_>, record: &impl RecordValues, text: &mut String) {
        let name = || values.file_path.and_then(Path::file_name).map(|name| name.to_string_lossy());
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::FileStem => text.push_str(name().as_deref().map_or(values.source, stem)),
                Part::FileName => text.push_str(name().as_deref().unwrap_or(values.source)),
                Part::Source => text.push_str(values.source),
                Part::Host => text.push_str(values.host),
                Part::Category => text.push_str(record.category().unwrap_or(values.source)),
                Part::Severity if record.severity().is_empty() => text.push_str(values.source),
                Part::Severity => text.push_str(record.severity()),
                Part::Attribute(name) => {
                    text.push_str(record.attribute(name).filter(|value| !value.is_empty()).unwrap_or(values.source));
                }
            }
        }
    }
}

fn stem(file_name: &str) -> &str {
    let visible = file_name.strip_prefix('.').unwrap_or(file_name);
    match visible.split('.').next() {
        None | Some("") => file_name,
        Some(stem) => stem,
    }
}

impl FromStr for Template {
    type Err = Unparsable;

    fn from_str(text: &str) -> Result<Template, Unparsable> {
        let refuse = |why: String| Err(Unparsable(format!("`{}` {why}", quoted(text))));
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|b| b.split_once('}')) {
                let Some(part) = placeholder(name) else {
                    let name = quoted(name);
                    return refuse(format!(
                        "has the unknown placeholder `{{{name}}}`; the known ones are {{file_stem}}, {{file_name}}, {{source}}, {{host}}, {{app_name}}, {{hostname}}, {{facility}}, {{severity}}, {{tag}}, and attributes by a name with a dot"
                    ));
                };
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(part);
                rest = after;
            } else {
                return refuse("has a brace without its partner; write `{{` or `}}` for a plain brace".to_owned());
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        let template = Template { parts };
        match template.text_is_valid() {
            true => Ok(template),
            false => {
                refuse(format!("is not a category; write 1 to {CATEGORY_BYTES_MAX} bytes without control characters"))
            }
        }
    }
}

impl Template {
    /// Whether the text around the placeholders leaves room for a valid category.
    fn text_is_valid(&self) -> bool {
        let plain = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            // The shortest thing that a placeholder can become.
            _ => "x",
        });
        category_is_valid(&plain.collect::<String>())
    }
}

fn placeholder(name: &str) -> Option<Part> {
    match name {
        "file_stem" => Some(Part::FileStem),
        "file_name" => Some(Part::FileName),
        "source" => Some(Part::Source),
        "host" => Some(Part::Host),
        "category" => Some(Part::Category),
        "severity" => Some(Part::Severity),
        name if name.contains('.') && !name.chars().any(char::is_whitespace) => Some(Part::Attribute(name.to_owned())),
        name => {
            let (_, attribute) = SHORT.iter().find(|(short, _)| *short == name)?;
            Some(Part::Attribute((*attribute).to_owned()))
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::FileStem => f.write_str("{file_stem}"),
            Part::FileName => f.write_str("{file_name}"),
            Part::Source => f.write_str("{source}"),
            Part::Host => f.write_str("{host}"),
            Part::Category => f.write_str("{category}"),
            Part::Severity => f.write_str("{severity}"),
            Part::Attribute(name) => {
                let short = SHORT.iter().find(|(_, attribute)| attribute == name);
                write!(f, "{{{}}}", short.map_or(name.as_str(), |(short, _)| short))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, path: &str) -> String {
        let template: Template = template.parse().unwrap();
        template.render(&TemplateValues {
            file_path: (!path.is_empty()).then_some(Path::new(path)),
            source: "web",
            host: "h1",
        })
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(render("nginx.{file_stem}", "/var/log/access.log.1"), "nginx.access");
        assert_eq!(render("{host}/{source}:{file_name}", "/l/a.log"), "h1/web:a.log");
        assert_eq!(render("plain", "/l/a.log"), "plain");
    }

    #[test]
    fn a_file_stem_is_never_empty() {
        for (path, stem) in [
            ("/l/access", "access"),
            ("/l/.access.log", "access"),
            ("/l/.env", "env"),
            ("/l/...", "..."),
            ("/l/.", "l"),
            ("", "web"),
        ] {
            assert_eq!(render("{file_stem}", path), stem, "{path}");
        }
    }

    #[test]
    fn doubled_braces_are_plain_braces() {
        assert_eq!(render("{{{source}}}", ""), "{web}");
        assert_eq!(render("{{file_stem}}", ""), "{file_stem}");
        assert_eq!(Template::fixed("{x}").to_string(), "{{x}}");
    }

    #[test]
    fn a_template_displays_as_it_was_written() {
        for text in [
            "a",
            "{{a}}.{host}",
            "{file_stem}{file_name}{source}",
            "{app_name}.{severity}-{k8s.pod.name}",
            "a.{category}",
        ] {
            assert_eq!(text.parse::<Template>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_render_to_a_category_is_refused() {
        let error = "a.{hots}".parse::<Template>().unwrap_err().to_string();
        assert!(error.contains("{hots}") && error.contains("{file_stem}, {file_name}, {source}, {host}"));
        for text in ["", "{host", "host}", "{}", "a\nb", "a\u{7f}", &"a".repeat(257)] {
            assert!(text.parse::<Template>().is_err(), "{text:?}");
        }
        assert!("a".repeat(256).parse::<Template>().is_ok());
        assert!(format!("{{host}}{}", "a".repeat(256)).parse::<Template>().is_err());
    }
}
