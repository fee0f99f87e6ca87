//! What the command line asks for.

/// See [`HELP`].
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// What every run of the tests does.
    Tests {
        filter: Vec<String>,
        list: bool,
    },
    /// So many seeds, from the first on.
    Seeds {
        first: u64,
        count: u64,
    },
    /// One seed.
    Seed {
        seed: u64,
        trace: bool,
        planted: Option<String>,
    },
    /// All planted bugs, or one, up to so many seeds each.
    Planted {
        only: Option<String>,
        seeds: u64,
    },
    Help,
}

pub const HELP: &str = "\
Simulates adaptors and collectors over one store, from one seed.

cargo test -p logboom-simulation                         what CI runs
cargo test --release -p logboom-simulation -- OPTIONS    more of it

  --seeds N [--from S]             N seeds, from S on (1)
  --seed S [--trace]               one seed, with all that happens in it
  --seed S [--trace] --bug NAME    the same with a planted bug
  --planted [--bug NAME] [--up-to N]
                                   plants each bug, and counts the seeds until it is found (10000 at most)
";

/// Understands the arguments. Those of the test harness that mean nothing here are passed over.
pub fn parse(args: impl Iterator<Item = String>) -> Result<Asked, String> {
    let (mut seeds, mut seed, mut first, mut up_to) = (None, None, 1, 10_000);
    let (mut trace, mut planted, mut bug, mut list, mut filter) = (false, false, None, false, Vec::new());
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
        match arg.as_str() {
            "--seeds" => seeds = Some(number(value()?)?),
            "--seed" => seed = Some(number(value()?)?),
            "--from" => first = number(value()?)?,
            "--up-to" => up_to = number(value()?)?,
            "--bug" => bug = Some(value()?),
            "--trace" => trace = true,
            "--planted" => planted = true,
            "--list" => list = true,
            "--help" | "-h" => return Ok(Asked::Help),
            "--skip" | "--test-threads" | "--format" | "--color" => drop(value()?),
            _ if arg.starts_with('-') => {}
            _ => filter.push(arg),
        }
    }
    Ok(match (seed, seeds, planted) {
        (Some(seed), ..) => Asked::Seed { seed, trace, planted: bug },
        (_, _, true) => Asked::Planted { only: bug, seeds: up_to },
        (_, Some(count), _) => Asked::Seeds { first, count },
        _ => Asked::Tests { filter, list },
    })
}
