//! What leaves the spool: segments that a mark has passed, and those that are dropped to make room.
//!
//! Owns the order of it. Positions are folded into the file `positions` before their segments go, so that a source never
//! goes back; a loss is owed before its segment goes, so that it is told of. What comes back after a power cut is only
//! what is committed, and a mark will pass it again.

use std::collections::BTreeMap;
use std::io;

use logboom_config::planted;
use logboom_wire::StreamId;
use tracing::warn;

use super::disk::Disk;
use super::positions::Positions;
use super::segment::{self, Frame};
use super::{Index, Loss, Reason, Segment, Spool, SpoolError, Stream, durable, losses};

impl Spool {
    /// The collector has committed streams up to `marks`: deletes what is no longer needed. A mark never goes back.
    ///
    /// # Errors
    /// [`SpoolError::Ahead`] when a block is yet to be written: believing it would delete the block unsent, so then none of
    /// them is believed; [`SpoolError::Io`] when a file cannot be deleted, which is tried again with the next mark.
    pub fn trim(&self, marks: &BTreeMap<StreamId, u64>) -> Result<(), SpoolError> {
        let mut index = self.lock();
        let mut trimmed = Vec::new();
        for (&generation, stream) in &index.streams {
            let Some(&mark) = marks.get(&stream.id) else { continue };
            if !stream.sealed && mark > stream.published {
                return Err(SpoolError::Ahead { stream: stream.id, mark, last: stream.published });
            }
            trimmed.push((generation, if planted::bug("trim_past_the_mark") { mark + 1 } else { mark }));
        }
        for (generation, mark) in &trimmed {
            let stream = index.streams.get_mut(generation).expect("found above");
            stream.mark = stream.mark.max(*mark);
        }
        self.delete_committed(&mut index, trimmed.into_iter().map(|(generation, _)| generation))
    }

    /// Whether something is still here that a mark has passed: deleting it has failed. For a stream that is complete no
    /// other mark would come to try again.
    pub fn has_leftovers(&self) -> bool {
        let is_left = |stream: &Stream| match stream.segments.front() {
            Some(segment) => stream.segments.len() > usize::from(stream.writing) && stream.is_done_with(segment),
            None => stream.sealed,
        };
        self.lock().streams.values().any(is_left)
    }

    /// Tries to delete them again.
    ///
    /// # Errors
    /// As [`Spool::trim`].
    pub fn delete_leftovers(&self) -> Result<(), SpoolError> {
        let mut index = self.lock();
        let generations: Vec<u64> = index.streams.keys().copied().collect();
        self.delete_committed(&mut index, generations)
    }

    /// Deletes the segments of streams that their marks have passed, and those streams that are sealed and empty. What many
    /// streams have in common is synced once: the positions and, where nothing else of a stream is left, its deletion.
    pub(super) fn delete_committed(
        &self,
        index: &mut Index,
        generations: impl IntoIterator<Item = u64>,
    ) -> Result<(), SpoolError> {
        let (mut passed, mut looked_at) = (Vec::new(), Vec::new());
        for generation in generations {
            let Some(stream) = index.streams.get(&generation) else { continue };
            let deletable = stream.segments.iter().take(stream.segments.len() - usize::from(stream.writing));
            let count = deletable.take_while(|segment| stream.is_done_with(segment)).count();
            passed.extend((count > 0).then_some((generation, count)));
            looked_at.push(generation);
        }
        let deleted = self.delete_front(index, &passed, None);
        let mut gone = None;
        for generation in looked_at {
            let Some(stream) = index.streams.get(&generation) else { continue };
            if stream.sealed && stream.segments.is_empty() {
                let folder = self.path.join(stream.id.to_string());
                index.streams.remove(&generation);
                if let Err(error) = durable::remove_dir(&self.disk, &folder) {
                    warn!(path = %folder.display(), %error, "cannot delete the folder of a stream that is done with");
                }
                gone = Some(folder);
            }
        }
        if let Some(folder) = gone
            && let Err(error) = durable::sync_parent(&self.disk, &folder)
        {
            warn!(path = %self.path.display(), %error, "streams that are done with may come back after a power cut");
        }
        deleted
    }

    /// Deletes the first segments of streams, each given by its generation and a count. Positions first: a crash in between
    /// leaves a segment whose positions are known twice, the other order would forget them. The same goes for the loss, if
    /// they are dropped: then the loss records in them will never be committed, and what they tell of is owed again.
    fn delete_front(
        &self,
        index: &mut Index,
        fronts: &[(u64, usize)],
        dropped: Option<Loss>,
    ) -> Result<(), SpoolError> {
        if fronts.is_empty() {
            return Ok(());
        }
        let mut folded = index.folded.clone();
        for (generation, count) in fronts {
            for segment in index.streams[generation].segments.iter().take(*count) {
                match dropped {
                    Some(_) => folded.merge_dropped(&segment.positions),
                    None => folded.merge(&segment.positions),
                }
            }
            if let Some(loss) = dropped {
                losses::owe(&mut folded, *generation, loss);
            }
        }
        // What is about to be deleted counts as held: a crash in between leaves it.
        let held = index.streams.values().flat_map(|stream| &stream.segments);
        folded.forget_ended(|key, place| held.clone().any(|segment| segment.positions.has_older(key, place)));
        if (folded != index.folded || index.unsaved) && !planted::bug("delete_without_folding_positions") {
            self.store_positions(&folded)?;
            index.folded = folded;
            index.unsaved = false;
        }
        for (generation, count) in fronts {
            let stream = index.streams.get_mut(generation).expect("the caller found it");
            for _ in 0..*count {
                let segment = stream.segments.front().expect("counted");
                // The folder goes with the last one; a sync of its name is to come.
                let goes_with_folder = stream.sealed && stream.segments.len() == 1 && dropped.is_none();
                let delete = if goes_with_folder { durable::remove } else { durable::delete };
                delete(&self.disk, &segment.path).map_err(SpoolError::io(&segment.path, "delete the segment"))?;
                index.bytes -= segment.bytes;
                stream.segments.pop_front();
            }
        }
        self.freed.notify_all();
        Ok(())
    }

    /// Writes the positions; on a full disk gives up the reserve for them.
    pub(super) fn store_positions(&self, positions: &Positions) -> Result<(), SpoolError> {
        let path = self.path.join("positions");
        let stored = match positions.store(&self.disk, &path) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let _ = self.disk.remove_file(&self.path.join("reserve"));
                positions.store(&self.disk, &path)
            }
            other => other,
        };
        stored.map_err(SpoolError::io(&path, "write the positions"))
    }

    /// Drops the oldest segment of the spool that is not being written. Returns the count of records dropped that were
    /// not known to be committed; `None` when there is nothing to drop.
    pub(super) fn drop_oldest(&self) -> Result<Option<u64>, SpoolError> {
        let mut index = self.lock();
        let droppable = |stream: &Stream| stream.segments.len() > usize::from(stream.writing);
        let Some((&generation, stream)) = index.streams.iter_mut().find(|(_, stream)| droppable(stream)) else {
            return Ok(None);
        };
        let segment = &stream.segments[0];
        let (from, end) = (first_record_after(&self.disk, segment, stream.mark), segment.end_record);
        let loss = end.checked_sub(1).filter(|last| from <= *last);
        let loss = loss.map(|last| Loss { stream: stream.id, first: from, last, reason: Reason::DropOldest });
        self.delete_front(&mut index, &[(generation, 1)], loss)?;
        self.losses.notify_one();
        let stream = index.streams.get_mut(&generation).expect("found above");
        let dropped = stream.lose(from, end);
        self.counters.records_dropped_oldest.add(dropped);
        self.delete_committed(&mut index, [generation])?;
        Ok(Some(dropped))
    }
}

/// Sequence number of the first record of `segment` in a block after `mark`, as far as its headers tell.
fn first_record_after(disk: &Disk, segment: &Segment, mark: u64) -> u64 {
    let at_most = segment.end_record - segment.records;
    let Ok(file) = disk.open(&segment.path) else { return at_most };
    let (mut offset, mut passed) = (segment::HEADER_BYTES as u64, None);
    loop {
        match segment::read_header(&file, offset, segment.bytes) {
            Ok(Frame::Sound { content: header, .. }) if header.number > mark => {
                return passed.unwrap_or(header.first_record);
            }
            Ok(Frame::Sound { content: header, end }) => {
                passed = Some(header.first_record + header.records());
                offset = end;
            }
            Ok(Frame::Damaged { end, .. }) => offset = end,
            Ok(Frame::End) | Err(_) => return passed.unwrap_or(at_most),
        }
    }
}
