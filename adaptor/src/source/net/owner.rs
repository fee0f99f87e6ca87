//! Users and groups by name.
//!
//! Reads `/etc/passwd` and `/etc/group` itself: the C library would load plug-ins to ask, which a static binary cannot
//! do. Users that only a directory service knows are named by number.

/// The owner of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

impl Owner {
    /// `user` or `user:group`, names or numbers, on this host. Without a group, the file keeps the one that it has.
    pub(super) fn resolve(text: &str) -> Result<Self, String> {
        // A file that cannot be read knows no names; numbers still work.
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::find(text, &read("/etc/passwd"), &read("/etc/group"))
    }

    fn find(text: &str, users: &str, groups: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let unknown = |kind: &str, name: &str, file: &str| {
            format!("`owner = \"{text}\"`: there is no {kind} `{name}` in {file}: create it or write its number")
        };
        Ok(Self {
            user: Some(number(user, users).ok_or_else(|| unknown("user", user, "/etc/passwd"))?),
            group: match group {
                Some(group) => Some(number(group, groups).ok_or_else(|| unknown("group", group, "/etc/group"))?),
                None => None,
            },
        })
    }
}

/// The number of `name` in a file of lines `name:password:number:…`.
fn number(name: &str, file: &str) -> Option<u32> {
    let listed = file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    // The largest number means "leave it as it is" to the kernel.
    listed.or_else(|| name.parse().ok()).filter(|&number| number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nlog:x:105:4::/:\nbroken\n";
    const GROUPS: &str = "root:x:0:\nadm:x:4:log\n";

    #[test]
    fn names_and_numbers_are_found() {
        for (text, user, group) in
            [("log", 105, None), ("log:adm", 105, Some(4)), ("7:adm", 7, Some(4)), ("0:9", 0, Some(9))]
        {
            assert_eq!(Owner::find(text, USERS, GROUPS), Ok(Owner { user: Some(user), group }), "{text}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_which() {
        for (text, named) in [
            ("nobody2", "user `nobody2`"),
            ("log:wheel", "group `wheel`"),
            ("", "user ``"),
            ("broken", "user `broken`"),
            ("4294967295", "user"),
        ] {
            let error = Owner::find(text, USERS, GROUPS).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
