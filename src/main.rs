//! The `sb` program: the same builder an embedding author uses, with nothing added.

// The system's allocator keeps the memory of every password hash in one arena per thread: hundreds of megabytes
// after a busy minute. This one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    sb::App::new().main()
}
