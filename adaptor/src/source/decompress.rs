//! The one place where what producers compressed is decompressed: never beyond a limit that is known before.

use std::io::{self, Read};

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// RFC 1952, of one member or more.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 8878.
    Zstd,
    /// Snappy's block format.
    Snappy,
}

/// Why bytes were not decompressed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecompressError {
    /// There is more in it than is allowed.
    #[error("it has more than {0} bytes when decompressed")]
    TooLarge(usize),
    /// It is damaged, or not what it is said to be.
    #[error("it cannot be decompressed: {0}")]
    Damaged(#[from] io::Error),
}

/// The bytes behind `compressed`, at most `bytes_max`. Memory grows with what is there, not with what a header claims.
pub(crate) fn decompress(
    compression: Compression,
    compressed: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, DecompressError> {
    match compression {
        Compression::Gzip => read(flate2::read::MultiGzDecoder::new(compressed), bytes_max),
        Compression::Zlib => read(flate2::read::ZlibDecoder::new(compressed), bytes_max),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
            // A window is allocated as a whole: 8 MiB is what every encoder stays within unless told otherwise.
            decoder.window_log_max(23)?;
            read(decoder, bytes_max)
        }
        Compression::Snappy => {
            let damaged = |error: snap::Error| DecompressError::Damaged(io::Error::other(error));
            let length = snap::raw::decompress_len(compressed).map_err(damaged)?;
            // Snappy has no end of its own, only the length that it claims: at most about 21 times the input is real.
            if length > bytes_max {
                return Err(DecompressError::TooLarge(bytes_max));
            }
            if length / 64 > compressed.len() {
                return Err(DecompressError::Damaged(io::Error::other("its length is not the one that it claims")));
            }
            snap::raw::Decoder::new().decompress_vec(compressed).map_err(damaged)
        }
    }
}

fn read(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut bytes = Vec::new();
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > bytes_max {
        true => Err(DecompressError::TooLarge(bytes_max)),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::source::testing::gzip;

    const ALL: [Compression; 4] = [Compression::Gzip, Compression::Zlib, Compression::Zstd, Compression::Snappy];

    fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::fast();
        match compression {
            Compression::Gzip => gzip(bytes),
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
            assert_eq!(decompress(compression, &compressed, text.len()).unwrap(), text, "{compression:?}");
            let error = decompress(compression, &compressed, text.len() - 1).unwrap_err();
            assert!(matches!(error, DecompressError::TooLarge(15_999)), "{compression:?}: {error}");
        }
    }

    #[test]
    fn members_of_gzip_and_frames_of_zstd_follow_one_another() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let two = [compress(compression, b"one "), compress(compression, b"two")].concat();
            assert_eq!(decompress(compression, &two, 100).unwrap(), b"one two");
        }
    }

    #[test]
    fn damaged_or_cut_bytes_are_an_error_and_no_panic() {
        let text = b"a line of a log\n".repeat(100);
        for compression in ALL {
            let compressed = compress(compression, &text);
            for end in 0..compressed.len() {
                let cut = decompress(compression, &compressed[..end], 10_000);
                assert!(cut.is_err() || cut.unwrap().len() < text.len(), "{compression:?} cut at {end}");
            }
            for at in 0..compressed.len() {
                let mut damaged = compressed.clone();
                damaged[at] ^= 0x55;
                let _ = decompress(compression, &damaged, 10_000);
            }
        }
        let claims_much = [0xff, 0xff, 0xff, 0x7f, 0];
        assert!(decompress(Compression::Snappy, &claims_much, usize::MAX / 2).is_err());
    }
}
