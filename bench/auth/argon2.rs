//! What the machine can hash: Argon2id with the parameters given, on as many threads as given, for a while.
//!
//!     bench_argon2 MEMORY_KIB ITERATIONS PARALLELISM THREADS SECONDS
//!
//! Prints `{"hashes", "seconds"}`.
#![expect(clippy::print_stdout, reason = "the figures are its output")]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use argon2::{Algorithm, Argon2, Params, Version};

fn main() -> anyhow::Result<()> {
    let numbers: Vec<u32> = std::env::args()
        .skip(1)
        .map(|word| word.parse().with_context(|| format!("{word} is no number")))
        .collect::<Result<_, _>>()?;
    let [memory, iterations, parallelism, threads, seconds] = numbers[..] else {
        anyhow::bail!("bench_argon2 MEMORY_KIB ITERATIONS PARALLELISM THREADS SECONDS");
    };
    let params = Params::new(memory, iterations, parallelism, None).map_err(anyhow::Error::msg)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds.into());
    let hashes = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| count(&argon2, end)))
            .collect();
        let counts = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        counts.sum::<Result<u32, _>>()
    })
    .map_err(anyhow::Error::msg)?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "hashes": hashes, "seconds": seconds })
    );
    Ok(())
}

fn count(argon2: &Argon2<'_>, end: Instant) -> Result<u32, argon2::Error> {
    let mut hashes = 0;
    let mut out = [0; 32];
    while Instant::now() < end {
        argon2.hash_password_into(b"correct-horse-battery-9", b"sixteen bytes of", &mut out)?;
        hashes += 1;
    }
    Ok(hashes)
}
