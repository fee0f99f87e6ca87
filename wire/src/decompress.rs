//! The one place where anything is decompressed: never beyond a limit that is known before.
//!
//! A few bytes can claim to be, or become, any number of bytes. So nothing here believes a length in the input, and
//! every way in takes what may come of it: [`decompress`] for what producers send, [`Gunzip`] for what is read in slices,
//! and [`exactly`] for the runs of a block, whose header says their length. `clippy.toml` forbids the libraries' own
//! decoders everywhere else.

#![expect(clippy::disallowed_types, reason = "this is the one place")]

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::mem;

use flate2::write::GzDecoder;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952, of one member or more.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 8878.
    Zstd,
    /// Snappy's block format.
    Snappy,
}

/// What is allowed to come of compressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes.
    pub bytes_max: usize,
    /// The most times the compressed size, where that is more than [`RATIO_BYTES_MIN`].
    pub ratio_max: usize,
}

/// What comes of compressed bytes may always have this many: so little is no harm, whatever it was packed into.
///
/// Batches of most shippers are smaller. Logs with times or numbers in them shrink 40 to 150 times at most, and the same
/// line again and again 300 times with DEFLATE, whose bound is 1032; but 10,000 times with Zstandard.
pub const RATIO_BYTES_MIN: usize = 4 << 20;

impl Bounds {
    /// How much may come of `compressed` bytes, and the error when it is more.
    fn of(self, compressed: usize) -> (usize, DecompressError) {
        let of_ratio = compressed.saturating_mul(self.ratio_max).max(RATIO_BYTES_MIN);
        match of_ratio < self.bytes_max {
            true => (of_ratio, DecompressError::TooDense(self.ratio_max)),
            false => (self.bytes_max, DecompressError::TooLarge(self.bytes_max)),
        }
    }
}

/// Why bytes were not decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// There is more in it than is allowed.
    #[error("it has more than {0} bytes when decompressed, which is `max_frame`")]
    TooLarge(usize),
    /// There is more in it, for its size, than is allowed.
    #[error("it has more than 4 MiB and more than {0} times its size when decompressed, which is `max_ratio`")]
    TooDense(usize),
    /// It is damaged, or not what it is said to be.
    #[error("it cannot be decompressed: {0}")]
    Damaged(#[from] io::Error),
}

/// The bytes behind `compressed`, within `bounds`. Memory grows with what is there, not with what a header claims.
pub fn decompress(compression: Compression, compressed: &[u8], bounds: Bounds) -> Result<Vec<u8>, DecompressError> {
    let (bytes_max, too_much) = bounds.of(compressed.len());
    let bytes = match compression {
        Compression::Gzip => read(flate2::read::MultiGzDecoder::new(compressed), bytes_max)?,
        Compression::Zlib => read(flate2::read::ZlibDecoder::new(compressed), bytes_max)?,
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
            // A window is allocated as a whole: 8 MiB is what every encoder stays within unless told otherwise.
            decoder.window_log_max(23)?;
            read(decoder, bytes_max)?
        }
        Compression::Snappy => {
            let damaged = |error: snap::Error| DecompressError::Damaged(io::Error::other(error));
            let length = snap::raw::decompress_len(compressed).map_err(damaged)?;
            // Snappy has no end of its own, only the length that it claims: at most about 21 times the input is real.
            match length > bytes_max {
                true => None,
                false if length / 64 > compressed.len() => {
                    return Err(DecompressError::Damaged(io::Error::other("its length is not the one that it claims")));
                }
                false => Some(snap::raw::Decoder::new().decompress_vec(compressed).map_err(damaged)?),
            }
        }
    };
    bytes.ok_or(too_much)
}

/// All of it, or nothing when that is more than `bytes_max`.
fn read(decoder: impl Read, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

/// The `length` bytes behind `compressed`, one Zstandard frame. `length` was checked to be reasonable.
///
/// # Errors
/// It is damaged, or has another length.
pub(crate) fn exactly(compressed: &[u8], length: usize) -> Result<Vec<u8>, String> {
    // A new decompressor takes about as long as a small run.
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let bytes = DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress(compressed, length)
    });
    let bytes = bytes.map_err(|error| error.to_string())?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(format!("{} bytes where {length} were announced", bytes.len())),
    }
}

/// Unpacks one member of gzip, a slice at a time.
pub struct Gunzip {
    gunzip: GzDecoder<Vec<u8>>,
    bytes_max: u64,
    given: u64,
}

impl Gunzip {
    /// The most bytes that may be pushed at once. Deflate gives at most 1032 bytes for one, so a bomb gives 8 MiB before it
    /// is seen.
    pub const SLICE_BYTES: usize = 8 << 10;

    /// For a member that unpacks to at most `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self { gunzip: GzDecoder::new(Vec::new()), bytes_max, given: 0 }
    }

    /// Takes the next bytes of the member, at most [`Self::SLICE_BYTES`], the last ones if `is_last`, and gives what they
    /// unpack to.
    ///
    /// # Errors
    /// It is no gzip, or there is more in it than it may have. Then this is of no more use.
    pub fn push(&mut self, slice: &[u8], is_last: bool) -> Result<Vec<u8>, String> {
        assert!(slice.len() <= Self::SLICE_BYTES, "{} bytes at once", slice.len());
        let mut unpacked = self.gunzip.write_all(slice);
        if is_last {
            unpacked = unpacked.and_then(|()| self.gunzip.try_finish());
        }
        unpacked.map_err(|error| format!("it is no gzip: {error}"))?;
        let bytes = mem::take(self.gunzip.get_mut());
        self.given += bytes.len() as u64;
        match self.given <= self.bytes_max {
            true => Ok(bytes),
            false => Err(format!("it unpacks to more than {} bytes", self.bytes_max)),
        }
    }

    /// How many bytes it has given.
    pub fn given(&self) -> u64 {
        self.given
    }
}

#[cfg(test)]
mod tests {
    use logboom_fuzz::fuzz;

    use super::*;

    /// Bounds that only the count of bytes matters of.
    const fn at_most(bytes_max: usize) -> Bounds {
        Bounds { bytes_max, ratio_max: usize::MAX }
    }

    const ALL: [Compression; 4] = [Compression::Gzip, Compression::Zlib, Compression::Zstd, Compression::Snappy];

    fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::fast();
        match compression {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            Compression::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
        }
    }

    #[test]
    fn what_was_compressed_comes_back_up_to_the_limit_and_not_beyond() {
        let text = b"a line of a log\n".repeat(1000);
        for compression in ALL {
            let compressed = compress(compression, &text);
            assert_eq!(decompress(compression, &compressed, at_most(text.len())).unwrap(), text, "{compression:?}");
            let error = decompress(compression, &compressed, at_most(text.len() - 1)).unwrap_err();
            assert!(matches!(error, DecompressError::TooLarge(15_999)), "{compression:?}: {error}");
        }
    }

    #[test]
    fn what_is_too_dense_is_refused_when_it_is_not_small() {
        let bounds = Bounds { bytes_max: 64 << 20, ratio_max: 100 };
        for compression in [Compression::Gzip, Compression::Zlib, Compression::Zstd] {
            let small = compress(compression, &vec![0; RATIO_BYTES_MIN]);
            assert_eq!(decompress(compression, &small, bounds).unwrap().len(), RATIO_BYTES_MIN, "{compression:?}");
            let bomb = compress(compression, &vec![0; RATIO_BYTES_MIN + 1]);
            let error = decompress(compression, &bomb, bounds).unwrap_err();
            assert!(matches!(error, DecompressError::TooDense(100)), "{compression:?}: {error}");
        }
    }

    #[test]
    fn logs_that_repeat_themselves_are_not_too_dense() {
        let bounds = Bounds { bytes_max: 64 << 20, ratio_max: 500 };
        let same = b"ERROR connection refused: 10.0.0.1:5432\n".repeat(200_000);
        for compression in [Compression::Gzip, Compression::Zlib, Compression::Snappy] {
            let compressed = compress(compression, &same);
            assert_eq!(decompress(compression, &compressed, bounds).unwrap().len(), same.len(), "{compression:?}");
        }
        let counted: String = (0..100_000)
            .map(|n| {
                format!(
                    "{{\"time_ms\":{},\"message\":\"connection refused: 10.0.0.1:5432\"}}\n",
                    1_790_000_000_000u64 + n
                )
            })
            .collect();
        assert!(counted.len() > RATIO_BYTES_MIN);
        let compressed = compress(Compression::Zstd, counted.as_bytes());
        assert_eq!(decompress(Compression::Zstd, &compressed, bounds).unwrap().len(), counted.len());
    }

    #[test]
    fn members_of_gzip_and_frames_of_zstd_follow_one_another() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let two = [compress(compression, b"one "), compress(compression, b"two")].concat();
            assert_eq!(decompress(compression, &two, at_most(100)).unwrap(), b"one two");
        }
    }

    #[test]
    fn damaged_or_cut_bytes_are_an_error_and_no_panic() {
        let text = b"a line of a log\n".repeat(100);
        for compression in ALL {
            let compressed = compress(compression, &text);
            for end in 0..compressed.len() {
                let cut = decompress(compression, &compressed[..end], at_most(10_000));
                assert!(cut.is_err() || cut.unwrap().len() < text.len(), "{compression:?} cut at {end}");
            }
            for at in 0..compressed.len() {
                let mut damaged = compressed.clone();
                damaged[at] ^= 0x55;
                let _ = decompress(compression, &damaged, at_most(10_000));
            }
        }
        let claims_much = [0xff, 0xff, 0xff, 0x7f, 0];
        assert!(decompress(Compression::Snappy, &claims_much, at_most(usize::MAX / 2)).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic_or_give_more_than_is_allowed() {
        let text = b"a line of a log\n".repeat(20);
        let seeds = ALL.map(|compression| compress(compression, &text));
        fuzz(&seeds.each_ref().map(Vec::as_slice), |bytes| {
            for compression in ALL {
                if let Ok(bytes) = decompress(compression, bytes, at_most(10_000)) {
                    assert!(bytes.len() <= 10_000 && bytes.capacity() <= 40_000, "{}", bytes.capacity());
                }
            }
        });
    }

    #[test]
    fn a_bomb_is_found_out_slice_by_slice() {
        let bomb = compress(Compression::Gzip, &vec![0; 20 << 20]);
        let mut gunzip = Gunzip::new(1000);
        let error = gunzip.push(&bomb[..Gunzip::SLICE_BYTES.min(bomb.len())], false).unwrap_err();
        assert_eq!(error, "it unpacks to more than 1000 bytes");
        assert!(gunzip.given() <= 1032 * Gunzip::SLICE_BYTES as u64);
        assert!(exactly(&compress(Compression::Zstd, &[0; 1001]), 1000).is_err());
        assert!(exactly(&compress(Compression::Zstd, &[0; 999]), 1000).is_err());
        assert_eq!(exactly(&compress(Compression::Zstd, &[0; 1000]), 1000).unwrap(), [0; 1000]);
    }
}
