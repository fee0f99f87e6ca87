//! Positions of sources whose segments are gone: the file `positions` of a spool.
//!
//! Positions travel in block headers. Before a segment is deleted, its newest ones are folded in here, so that a source
//! always resumes where its durable records end. Of two positions of one key, the one of the later block counts.
//!
//! The file is one line `logboom-positions 1 <CRC32C of the rest, 8 hexadecimal digits>`, then JSON:
//! `{key: [generation, block number, value]}`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::disk::Disk;
use super::{durable, losses};

const HEAD: &str = "logboom-positions 1 ";

/// The place of a block in the spool's history: generation of its stream, number in it.
pub type Place = (u64, u64);

/// Newest positions by key, each with the place of its block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<String, (Place, String)>);

impl Positions {
    /// Reads the file; none is the same as an empty one. `Ok(Err(reason))` when it is damaged.
    pub fn load(disk: &Disk, path: &Path) -> io::Result<Result<Self, String>> {
        let bytes = match disk.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Self::default())),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let (head, json) = text.split_once('\n').ok_or("it has no first line")?;
        let crc = head.strip_prefix(HEAD).ok_or("it does not begin with logboom-positions 1")?;
        if crc != format!("{:08x}", crc32c::crc32c(json.as_bytes())) {
            return Err("its checksum does not match".into());
        }
        let entries: BTreeMap<String, (u64, u64, String)> =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        let entries =
            entries.into_iter().map(|(key, (generation, number, value))| (key, ((generation, number), value)));
        Ok(Self(entries.collect()))
    }

    /// Writes the file in one durable step.
    pub fn store(&self, disk: &Disk, path: &Path) -> io::Result<()> {
        let entries: BTreeMap<_, _> =
            self.0.iter().map(|(key, ((generation, number), value))| (key, (generation, number, value))).collect();
        let json = serde_json::to_string(&entries).map_err(io::Error::other)?;
        durable::replace(disk, path, format!("{HEAD}{:08x}\n{json}", crc32c::crc32c(json.as_bytes())).as_bytes())
    }

    /// Takes in one position.
    pub fn set(&mut self, place: Place, key: &str, value: &str) {
        match self.0.get_mut(key) {
            Some((known, _)) if *known > place => {}
            Some(entry) => *entry = (place, value.to_owned()),
            None => {
                self.0.insert(key.to_owned(), (place, value.to_owned()));
            }
        }
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Takes in all of `other` but what it says of losses: the loss records that would settle them are given up too.
    pub fn merge_dropped(&mut self, other: &Positions) {
        for (key, (place, value)) in other.0.iter().filter(|(key, _)| !losses::is_loss(key)) {
            self.set(*place, key, value);
        }
    }

    /// Takes in all of `other`.
    pub fn merge(&mut self, other: &Positions) {
        for (key, (place, value)) in &other.0 {
            self.set(*place, key, value);
        }
    }

    /// Forgets what sources said is over (an empty value), unless `held` says that a block before theirs is left that
    /// could bring an older position of the key back.
    pub fn forget_ended(&mut self, held: impl Fn(&str, Place) -> bool) {
        self.0.retain(|key, (place, value)| !value.is_empty() || held(key, *place));
    }

    /// Whether it has a position of `key` from before `place`.
    pub fn has_older(&self, key: &str, place: Place) -> bool {
        self.0.get(key).is_some_and(|(known, value)| *known < place && !value.is_empty())
    }

    /// The highest generation of any entry; 0 for none.
    pub fn generation_max(&self) -> u64 {
        self.0.values().map(|((generation, _), _)| *generation).max().unwrap_or(0)
    }

    /// Keys and values of what is not over.
    pub fn live(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(_, (_, value))| !value.is_empty())
            .map(|(key, (_, value))| (key.as_str(), value.as_str()))
    }

    /// Values by key, without those that are over, and without losses: what sources are to know.
    pub fn values(&self) -> BTreeMap<String, String> {
        let live = self.live().filter(|(key, _)| !losses::is_loss(key));
        live.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Whether there is none.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use logboom_fuzz::fuzz;

    use super::*;

    #[test]
    fn the_later_block_wins_whatever_the_order_of_folding() {
        let mut positions = Positions::default();
        positions.set((2, 1), "a", "new");
        positions.set((1, 9), "a", "old");
        positions.set((1, 9), "b", "");
        assert_eq!(positions.values(), BTreeMap::from([("a".into(), "new".into())]));
    }

    #[test]
    fn the_file_round_trips_and_damage_is_noticed() {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Disk::default());
        let path = folder.path().join("positions");
        assert!(Positions::load(&disk, &path).unwrap().unwrap().is_empty());
        let mut positions = Positions::default();
        positions.set((1, 2), "file/x/1/2", "{\"offset\":3}");
        positions.store(&disk, &path).unwrap();
        assert_eq!(Positions::load(&disk, &path).unwrap().unwrap(), positions);
        let mut bytes = disk.read(&path).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(Positions::parse(&bytes).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("positions");
        let mut positions = Positions::default();
        positions.set((1, 2), "file/x/1/2", "{\"offset\":3}");
        positions.set((2, 9), "loss/00000000000000000000000000000000/damaged/3-70", "");
        positions.store(&Disk::default(), &path).unwrap();
        let seed = std::fs::read(&path).unwrap();
        let seed = seed.split(|byte| *byte == b'\n').nth(1).unwrap();
        fuzz(&[seed], |json| {
            // With a checksum that is right: it would hide what is behind it.
            let text = [format!("{HEAD}{:08x}\n", crc32c::crc32c(json)).as_bytes(), json].concat();
            let Ok(positions) = Positions::parse(&text) else { return };
            assert!(positions.live().count() >= positions.values().len());
            let _ = losses::owed(&positions);
        });
    }
}
