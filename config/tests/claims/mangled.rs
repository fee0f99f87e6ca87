use logboom_config::{ByteSize, HumanDuration, SETTINGS_BYTES_MAX, Settings, Template, defaults_toml};

use crate::routes::RULE;
use crate::{FULL, parse, refuse};

/// A small generator of repeatable numbers (splitmix64): the same seed, the same run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

/// Pieces that are worth putting where they do not belong.
const PIECES: [&str; 24] = [
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "\r",
    "\\u0007",
    "\u{1}",
    "é",
    "-1",
    "0x10",
    "1e9",
    "99999999999999999999",
    "{file_stem}",
    "KiB",
    "\"\" = \"\"",
    "1979-05-27",
];

fn mangle(text: &str, numbers: &mut Numbers) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=numbers.below(3) {
        let n = numbers.below(lines.len());
        let mut chars: Vec<char> = lines[n].chars().collect();
        let at = numbers.below(chars.len() + 1);
        match numbers.below(6) {
            0 => chars.truncate(at),
            1 => drop(chars.splice(at..at, PIECES[numbers.below(PIECES.len())].chars())),
            2 if at < chars.len() => drop(chars.remove(at)),
            3 => {
                // A value from elsewhere behind this line's key.
                let other = lines[numbers.below(lines.len())].clone();
                let value = other.split_once('=').map_or("", |(_, value)| value);
                let key = lines[n].split_once('=').map_or("x", |(key, _)| key);
                chars = format!("{key}={value}").chars().collect();
            }
            4 => drop(lines.remove(n)),
            _ => lines.insert(numbers.below(lines.len()), String::from_iter(&chars)),
        }
        match lines.is_empty() {
            true => lines.push(String::new()),
            false => {
                let n = n.min(lines.len() - 1);
                lines[n] = chars.into_iter().collect();
            }
        }
    }
    lines.join("\n")
}

#[test]
fn no_mangled_file_makes_it_panic_or_answer_with_more_than_one_line() {
    let mut numbers = Numbers(14630);
    let texts = [FULL.to_owned(), defaults_toml(), RULE.to_owned()];
    let (mut good, mut bad) = (0, 0);
    for round in 0..4000 {
        let text = mangle(&texts[round % 2], &mut numbers);
        match Settings::parse("l.toml", &text) {
            Ok(settings) => {
                good += 1;
                let _ = settings.describe();
            }
            Err(error) => {
                bad += 1;
                let answer = error.to_string();
                let line = answer.strip_prefix("l.toml:").and_then(|rest| rest.split_once(": "));
                let line = line.and_then(|(line, _)| line.parse::<usize>().ok());
                assert!(line.is_some_and(|n| (1..=text.lines().count() + 1).contains(&n)), "{answer}\n{text}");
                assert!(!answer.chars().any(char::is_control) && answer.len() < 1000, "{answer}\n{text}");
            }
        }
    }
    assert!(good > 300 && bad > 300, "the mangling is too mild or too wild: {good} good, {bad} bad");
}

#[test]
fn no_mangled_value_makes_a_parser_panic() {
    let mut numbers = Numbers(1463);
    for _ in 0..20_000 {
        let text: String = (0..numbers.below(6)).map(|_| PIECES[numbers.below(PIECES.len())]).collect();
        if let Ok(size) = text.parse::<ByteSize>() {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        if let Ok(template) = text.parse::<Template>() {
            assert_eq!(template.to_string().parse(), Ok(template));
        }
        let _ = text.parse::<HumanDuration>();
    }
}

#[test]
fn deep_and_large_files_are_answered() {
    refuse(&"[".repeat(100_000));
    refuse(&format!("a = {}", "[".repeat(100_000)));
    refuse(&format!("{}x = 1", "a.".repeat(100_000)));
    let long = refuse(&format!("{} = 1", "a".repeat(500_000)));
    assert!(long.len() < 300, "{long}");
    let long = refuse(&format!("[adaptor.spool]\nmax_size = {}", "9".repeat(500_000)));
    assert!(long.len() < 300, "{long}");
    let long = refuse(&format!("[adaptor]\ntoken_file = \"{}\"", "a".repeat(500_000)));
    assert!(long.len() < 300, "{long}");
    refuse(&"#".repeat(SETTINGS_BYTES_MAX as usize + 1));
    let sources: String = (0..1000).map(|n| format!("[[adaptor.source]]\ntype = \"unix\"\npath = \"{n}\"\n")).collect();
    assert_eq!(parse(&sources).adaptor.unwrap().sources.len(), 1000);
}
