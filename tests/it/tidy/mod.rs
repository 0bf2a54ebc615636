//! The rules of the source tree that a compiler does not know; `docs/ARCHITECTURE.md` says why each one exists.
//!
//! Every rule is a function from a [`Source`] to its violations, and every rule is shown a sample that breaks it.

mod rust;
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rust::{Source, expand};

/// Layers from the bottom up: a module imports from its own layer and from those before it.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "base",
        &[
            "clock",
            "config",
            "error",
            "identity",
            "lifecycle",
            "net",
            "telemetry",
        ],
    ),
    (
        "platform",
        &[
            "blob", "db", "hooks", "http", "jobs", "keys", "mail", "stack",
        ],
    ),
    (
        "features",
        &["auth", "functions", "realtime", "rest", "storage"],
    ),
    ("admin", &["admin"]),
    ("app", &["app", "ops", "router"]),
    ("cli", &["cli"]),
    ("main", &["main"]),
];

/// Rooms that own tables, and so have a `queries.rs`: the features, and machinery every feature may use.
const PLATFORM_ROOMS_WITH_TABLES: &[&str] = &["hooks", "jobs", "keys", "mail"];

/// Statements of nobody's tables, which may stand elsewhere: path, reason.
const QUERIES_ELSEWHERE: &[(&str, &str)] = &[(
    "src/cli/doctor/queries.rs",
    "asks the catalogs how roles and settings are, which no feature owns",
)];

/// Most lines of a file. The aim is 150.
const MOST_LINES: usize = 800;

/// Longer files: name, most lines, reason. May only shrink.
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// Where a Postgres driver may be named, other than in `src/db`: path, reason.
const DRIVER_USERS: &[(&str, &str)] = &[];

/// The one file with `unsafe`: what runs between fork and exec cannot be written without it.
const UNSAFE_FILE: &str = "src/stack/process.rs";

#[test]
fn the_source_tree_follows_its_rules() {
    let tree = Tree::read("src");
    let reexports = reexports(&tree);
    let mut violations = Vec::new();
    for source in &tree.sources {
        violations.extend(imports(source, &reexports));
        violations.extend(no_double_super(source));
        violations.extend(size(source, LONG_FILES));
        violations.extend(queries_in_their_room(source, QUERIES_ELSEWHERE));
        violations.extend(drivers_in_db(source, DRIVER_USERS));
        violations.extend(no_sql_in_routes(source));
        violations.extend(only_the_cli_prints(source));
        violations.extend(says_what_it_is_for(source));
        violations.extend(unsafe_in_one_file(source));
    }
    violations.extend(forgotten_modules(&tree, "src/lib.rs"));
    violations.extend(stale_exceptions(&tree, LONG_FILES, DRIVER_USERS));
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let violations = forgotten_modules(&Tree::read("tests/it"), "tests/it/main.rs");
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

struct Tree {
    sources: Vec<Source>,
}

impl Tree {
    fn read(root: &str) -> Self {
        let base = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        rust_files(&base.join(root), &mut files);
        files.sort();
        assert!(!files.is_empty(), "{root} holds no Rust file");
        let read = |file: &PathBuf| {
            let path = file
                .strip_prefix(base)
                .expect("it lies below the base")
                .to_string_lossy();
            Source::new(
                &path,
                &fs::read_to_string(file).expect("source files are UTF-8"),
            )
        };
        Self {
            sources: files.iter().map(read).collect(),
        }
    }
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the folder exists") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Imports point downwards, features never meet, and a feature's statements and handlers are its own.
fn imports(source: &Source, reexports: &BTreeMap<String, String>) -> Vec<String> {
    let Some(from) = source.module() else {
        return Vec::new();
    };
    let mut violations = Vec::new();
    if layer(from).is_none() {
        violations.push(format!(
            "{}: module {from} is in no layer; add it to LAYERS in tests/it/tidy.rs",
            source.path
        ));
    }
    for (line, path) in source.crate_paths() {
        let first = path[0].as_str();
        let to = if layer(first).is_some() {
            Some(first)
        } else {
            reexports.get(first).map(String::as_str)
        };
        let Some(to) = to else {
            // An item of the crate root itself, a macro for example, imports nothing.
            continue;
        };
        let refused = match (layer(from), layer(to)) {
            (Some(a), Some(b)) if b > a => {
                Some(format!("{} may not use {}", LAYERS[a].0, LAYERS[b].0))
            }
            (Some(_), Some(_)) if from != to && is_feature(from) && is_feature(to) => Some(
                "features meet in Postgres, in a job, or through a handle that app.rs passes"
                    .to_owned(),
            ),
            _ if from != to
                && path
                    .get(1)
                    .is_some_and(|second| second == "queries" || second == "routes") =>
            {
                Some(format!(
                    "queries and routes of {to} are its own; call its service functions"
                ))
            }
            _ => None,
        };
        if let Some(reason) = refused {
            violations.push(format!(
                "{}:{line}: {from} imports crate::{}: {reason}",
                source.path,
                path.join("::")
            ));
        }
    }
    violations
}

/// `super::super` would hide an import from the rule above.
fn no_double_super(source: &Source) -> Vec<String> {
    source.code_lines_with(
        "super::super",
        "write the path from crate:: instead of super::super",
    )
}

fn size(source: &Source, exceptions: &[(&str, usize, &str)]) -> Vec<String> {
    let most = exceptions
        .iter()
        .find(|(path, ..)| *path == source.path)
        .map_or(MOST_LINES, |(_, most, _)| *most);
    if source.lines <= most {
        return Vec::new();
    }
    vec![format!(
        "{}: {} lines, at most {most}: is it still one room?",
        source.path, source.lines
    )]
}

fn queries_in_their_room(source: &Source, exceptions: &[(&str, &str)]) -> Vec<String> {
    if exceptions.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let parts: Vec<&str> = source.path.split('/').collect();
    let owns_tables = |room: &str| is_feature(room) || PLATFORM_ROOMS_WITH_TABLES.contains(&room);
    match parts.as_slice() {
        ["src", room, "queries.rs"] | ["src", room, "queries", _] if owns_tables(room) => {
            Vec::new()
        }
        // A part of the machinery that has tables of its own.
        ["src", room, _, "queries.rs"] if PLATFORM_ROOMS_WITH_TABLES.contains(room) => Vec::new(),
        [.., "queries.rs"] | [.., "queries", _] => vec![format!(
            "{}: queries.rs belongs directly into a feature",
            source.path
        )],
        _ => Vec::new(),
    }
}

fn drivers_in_db(source: &Source, exceptions: &[(&str, &str)]) -> Vec<String> {
    if source.path.starts_with("src/db/") || exceptions.iter().any(|(path, _)| *path == source.path)
    {
        return Vec::new();
    }
    ["tokio_postgres", "deadpool_postgres"]
        .iter()
        .flat_map(|driver| source.code_lines_with(driver, &format!("only src/db uses {driver}")))
        .collect()
}

/// Looks at string literals, so that words in comments and names do not count.
fn no_sql_in_routes(source: &Source) -> Vec<String> {
    if !source.path.contains("/routes/") && !source.path.ends_with("/routes.rs") {
        return Vec::new();
    }
    let sql = source.strings.iter().filter(|(_, text)| is_sql(text));
    sql.map(|(line, _)| {
        format!(
            "{}:{line}: SQL in a route; it belongs into queries.rs",
            source.path
        )
    })
    .collect()
}

fn is_sql(text: &str) -> bool {
    // Prose is written with a capital; statements are all lower or all upper case.
    let first = text.split_whitespace().next().unwrap_or_default();
    if first != first.to_lowercase() && first != first.to_uppercase() {
        return false;
    }
    let words: Vec<String> = text
        .split_whitespace()
        .take(40)
        .map(str::to_lowercase)
        .collect();
    let has = |word: &str| words.iter().any(|w| w == word);
    let objects = [
        "table",
        "index",
        "schema",
        "role",
        "function",
        "trigger",
        "policy",
        "view",
        "extension",
        "type",
    ];
    match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["select", _, ..]
        | ["insert", "into", _, ..]
        | ["delete", "from", _, ..]
        | ["set", "local" | "role", ..]
        | ["truncate", "table" | "only", ..] => true,
        ["update", _, ..] => has("set"),
        ["with", ..] => has("as") && (has("select") || has("(select")),
        ["create" | "alter" | "drop", rest @ ..] => {
            rest.iter().take(3).any(|word| objects.contains(word))
        }
        _ => false,
    }
}

fn only_the_cli_prints(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/cli/") {
        return Vec::new();
    }
    [
        "print!",
        "println!",
        "eprint!",
        "eprintln!",
        "dbg!",
        "stdout()",
        "stderr()",
    ]
    .iter()
    .flat_map(|word| {
        source.code_lines_with(
            word,
            "only src/cli prints; the library returns values or logs",
        )
    })
    .collect()
}

fn says_what_it_is_for(source: &Source) -> Vec<String> {
    if source.first_line.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!(
        "{}:1: the first line must be `//!` and say what the file is for",
        source.path
    )]
}

fn unsafe_in_one_file(source: &Source) -> Vec<String> {
    if source.path == UNSAFE_FILE {
        return Vec::new();
    }
    source.code_lines_with("unsafe", &format!("unsafe is for {UNSAFE_FILE} only"))
}

/// Files that no `mod` declares are not compiled, so their tests never run and nobody is told.
fn forgotten_modules(tree: &Tree, root: &str) -> Vec<String> {
    let by_path: BTreeMap<&str, &Source> = tree
        .sources
        .iter()
        .map(|source| (source.path.as_str(), source))
        .collect();
    let mut violations = Vec::new();
    for source in &tree.sources {
        let (dir, file) = source
            .path
            .rsplit_once('/')
            .expect("every path has a folder");
        let (parent_dir, name) = match file {
            "mod.rs" => dir
                .rsplit_once('/')
                .expect("mod.rs has a folder of its own"),
            _ => (dir, file.trim_end_matches(".rs")),
        };
        if source.path == root || (root == "src/lib.rs" && source.path == "src/main.rs") {
            continue;
        }
        let is_top = Path::new(root).parent() == Some(Path::new(parent_dir));
        let parent = if is_top {
            root.to_owned()
        } else {
            format!("{parent_dir}/mod.rs")
        };
        let declared = by_path
            .get(parent.as_str())
            .is_some_and(|parent| parent.declares(name));
        if !declared {
            violations.push(format!(
                "{}: not compiled, because {parent} does not declare `mod {name};`",
                source.path
            ));
        }
    }
    violations
}

/// An exception that is no longer needed goes.
fn stale_exceptions(
    tree: &Tree,
    long: &[(&str, usize, &str)],
    drivers: &[(&str, &str)],
) -> Vec<String> {
    let find = |path: &str| tree.sources.iter().find(|source| source.path == path);
    let mut violations = Vec::new();
    for (path, most, _) in long {
        match find(path) {
            Some(source) if source.lines > MOST_LINES && source.lines == *most => {}
            Some(source) => violations.push(format!(
                "LONG_FILES: {path} has {} lines now; lower {most} or remove it",
                source.lines
            )),
            None => violations.push(format!(
                "LONG_FILES: {path} does not exist any more; remove it"
            )),
        }
    }
    for (path, _) in drivers {
        if find(path).is_none_or(|source| drivers_in_db(source, &[]).is_empty()) {
            violations.push(format!(
                "DRIVER_USERS: {path} names no driver any more; remove it"
            ));
        }
    }
    violations
}

fn layer(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

fn is_feature(module: &str) -> bool {
    layer(module).is_some_and(|index| LAYERS[index].0 == "features")
}

/// What `src/lib.rs` names at the root, `crate::Caller` for example, by the module it comes from.
fn reexports(tree: &Tree) -> BTreeMap<String, String> {
    let root = tree
        .sources
        .iter()
        .find(|source| source.path == "src/lib.rs");
    let mut found = BTreeMap::new();
    for statement in root.map_or("", |root| root.code.as_str()).split(';') {
        if let Some((_, path)) = statement.split_once("pub use ") {
            let mut paths = Vec::new();
            expand(
                path.trim_start_matches("crate::"),
                &mut Vec::new(),
                &mut paths,
            );
            for path in paths {
                let name = path.last().expect("a path has a segment").clone();
                found.insert(name, path[0].clone());
            }
        }
    }
    found
}
