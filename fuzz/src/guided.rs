//! Under `fuzz/run`: libFuzzer calls the decoder, and sees by the counters in its code which inputs lead somewhere new.

use std::cell::RefCell;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

/// Gives libFuzzer the seeds and the decoder; ends the process when it has had enough, with its exit code.
pub(crate) fn run(seeds: &[&[u8]], decode: impl FnMut(&[u8])) {
    let folder = std::env::var_os("LOGBOOM_FUZZ_CORPUS").expect("`fuzz/run` sets LOGBOOM_FUZZ_CORPUS");
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder).expect("the folder of the corpus can be created");
    for (n, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{n}")), seed).expect("the folder of the corpus can be written");
    }
    let decode = AssertUnwindSafe(RefCell::new(decode));
    let engine = bolero::DefaultEngine::default();
    bolero::TestTarget::new(engine).for_each(move |input: &[u8]| {
        let decode = &decode;
        (decode.borrow_mut())(input)
    });
}
