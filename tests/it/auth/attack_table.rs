//! `docs/reference/attack-tests.md` names tests that exist and say what they defend, and every attack.

use std::path::Path;

/// Numbers of the general list that are about accounts, and of the weak points that are.
const GENERAL: &str = "9 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 37 38 41 46 47 53 56 57";
const WEAK: &str = "0 4 5 6 10 11 14 16 24 26 29 30 31 35 39";

/// One of these begins what a test says of the defence to remove.
const SAYS_SO: [&str; 8] = [
    "fails", "Fails", "emove ", "ithout ", "ake ", "eave ", "Set ", "emoved",
];

#[test]
fn every_attack_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/reference/attack-tests.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let number = cells.next()?;
        let digits = number.trim_start_matches(['S', 'W']);
        digits.parse::<u32>().ok()?;
        Some((number, cells.nth(1).unwrap_or_default()))
    });
    let rows: Vec<_> = rows.collect();
    let of = |list: &str| -> String {
        let numbers = rows.iter().map(|(number, _)| *number);
        let ours = numbers.filter_map(|number| match list {
            "" => number.parse::<u32>().ok().map(|_| number),
            _ => number.strip_prefix(list),
        });
        ours.collect::<Vec<_>>().join(" ")
    };
    let attacks: Vec<_> = (1..=48).map(|number: u32| number.to_string()).collect();
    assert_eq!(of(""), attacks.join(" "));
    assert_eq!((of("S"), of("W")), (GENERAL.to_owned(), WEAK.to_owned()));
    let mut problems = Vec::new();
    for (number, tests) in rows {
        assert!(!tests.is_empty(), "{number} names no test");
        for of_a_file in tests.split(';') {
            let path = of_a_file.split_whitespace().next().unwrap_or_default();
            if path.starts_with("line") {
                // Another row's tests.
                continue;
            }
            let source = std::fs::read_to_string(root.join(path)).unwrap_or_default();
            if source.is_empty() {
                problems.push(format!("{number}: there is no {path}"));
            }
            for name in of_a_file.split('`').skip(1).step_by(2) {
                if source.contains(&format!("test('{name}'")) {
                    continue;
                }
                match source.find(&format!("fn {name}(")) {
                    None => problems.push(format!("{number}: {path} has no {name}")),
                    Some(at) if !says_so(&source[..at]) => {
                        problems.push(format!("{path}: {name} does not say what to remove"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Whether the comment that `before` ends with names a defence.
fn says_so(before: &str) -> bool {
    // The last line holds the beginning of the function.
    let lines = before.lines().rev().skip(1).map(str::trim);
    let mut lines = lines.skip_while(|line| !line.starts_with("///") && !line.is_empty());
    let mut comment = lines.by_ref().take_while(|line| line.starts_with("///"));
    comment.any(|line| SAYS_SO.iter().any(|words| line.contains(words)))
}
