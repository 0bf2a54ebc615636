//! The `sb` program: the same builder an embedding author uses, with nothing added.

fn main() -> std::process::ExitCode {
    sb::App::new().main()
}
