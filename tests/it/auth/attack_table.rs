//! `docs/reference/attack-tests.md` names tests that exist, and every attack.

use std::path::Path;

#[test]
fn every_attack_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/reference/attack-tests.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let number = cells.next()?;
        let digits = number.strip_prefix('S').unwrap_or(number);
        digits.parse::<u32>().ok()?;
        Some((number, cells.nth(1).unwrap_or_default()))
    });
    let rows: Vec<_> = rows.collect();
    let numbers: Vec<u32> = rows
        .iter()
        .filter_map(|(number, _)| number.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=48).collect::<Vec<_>>());
    let mut missing = Vec::new();
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
                missing.push(format!("{number}: {path}"));
            }
            for name in of_a_file.split('`').skip(1).step_by(2) {
                let is_there = source.contains(&format!("fn {name}("))
                    || source.contains(&format!("test('{name}'"));
                if !is_there {
                    missing.push(format!("{number}: {path} {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}
