//! `just bench` in little: every row is measured once with tiny sizes, so that the bench cannot rot. Figures are not
//! looked at.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_row_of_the_bench_can_be_measured() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    let output = bench.arg("--quick").arg("--report").arg(&report).output().unwrap();
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(77) {
        df_testkit::skip(said.trim());
        return;
    }
    assert!(output.status.success(), "{said}{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    for row in report["rows"].as_array().unwrap() {
        assert!(row["median"].is_number(), "{row}");
        assert!(text.contains(row["name"].as_str().unwrap()), "{row} is not in the table:\n{text}");
    }
    assert_eq!(report["judged"], false);
    assert!(report["rows"].as_array().unwrap().len() >= 20, "{text}");
}
