//! Records of every kind: torn, flipped, and hostile ones.

use proptest::prelude::*;

use super::*;

fn meta(length: Option<u64>) -> Meta {
    Meta { length, piece_length: 4, content_type: None, digest: None, validator: None }
}

fn hash(seed: u32) -> PieceHash {
    *blake3::hash(&seed.to_be_bytes()).as_bytes()
}

fn text(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.to_bytes().unwrap()).collect()
}

/// With a right checksum, whatever it says.
fn raw(json: &str) -> Vec<u8> {
    format!("{} {json}\n", checksum(json.as_bytes())).into_bytes()
}

fn parse(bytes: &[u8]) -> Recovered {
    Recovered::parse(bytes).unwrap()
}

#[test]
fn a_torn_line_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let mut record = Record::new(path.clone(), 0);
    record.append(&Line::Task { meta: meta(None) }).unwrap();
    record.append(&Line::piece(1, &hash(1))).unwrap();
    let torn = Line::piece(2, &hash(2)).to_bytes().unwrap();
    std::fs::write(
        &path,
        [text(&[Line::Task { meta: meta(None) }, Line::piece(1, &hash(1))]), torn[..30].to_vec()].concat(),
    )
    .unwrap();

    let found = Recovered::read(&path).unwrap();
    assert_eq!(found.meta, Some(meta(None)));
    assert!(found.marks.has(1) && found.piece_count() == 1 && found.has_rest && !found.complete);

    // What is written after the torn line counts.
    Record::new(path.clone(), found.trusted_bytes).append(&Line::Length { length: 11 }).unwrap();
    let found = Recovered::read(&path).unwrap();
    assert_eq!((found.meta.unwrap().length, found.has_rest), (Some(11), false));
}

#[test]
fn nothing_on_disk_is_nothing_known() {
    let found = Recovered::read(Path::new("/nonexistent/record")).unwrap();
    assert!(found.meta.is_none() && found.piece_count() == 0);
}

#[test]
fn a_label_is_told_once_and_also_of_what_is_complete() {
    let label = |tag: &str| Line::Label { label: Label { tag: Some(tag.to_owned()), ..Label::default() } };
    let lines = [Line::Task { meta: meta(Some(0)) }, Line::Complete, label("first")];
    let found = parse(&text(&lines));
    assert_eq!((found.complete, found.has_rest), (true, false));
    assert_eq!(found.label.and_then(|label| label.tag).as_deref(), Some("first"));
    let found = parse(&[text(&lines), text(&[label("second")])].concat());
    assert_eq!(found.label.and_then(|label| label.tag).as_deref(), Some("first"));
    assert!(found.has_rest);
    assert!(parse(&text(&[label("of nothing")])).label.is_none());
    let escaped = Label { url: Some("\\".repeat(4000)), tag: Some("\u{1}".repeat(1024)), ..Label::default() };
    let longest = [Line::Task { meta: meta(Some(0)) }, Line::Label { label: escaped }];
    assert!(parse(&text(&longest)).label.is_some(), "the longest fits");
    let too_long = Line::Label { label: Label { tag: Some("t".repeat(1025)), ..Label::default() } };
    assert!(parse(&text(&[Line::Task { meta: meta(Some(0)) }, too_long])).label.is_none());
}

#[test]
fn hostile_numbers_end_the_record() {
    let digest = |algorithm: &str, digits| format!("{algorithm}:{}", "ab".repeat(digits));
    let task = |length: &str, piece_length: &str| {
        format!(
            r#"{{"kind":"task","meta":{{"length":{length},"piece_length":{piece_length},"content_type":null,"digest":null}}}}"#
        )
    };
    let piece = |index: &str, digest: &str| format!(r#"{{"kind":"piece","index":{index},"digest":"{digest}"}}"#);
    let blake3 = digest("blake3", 32);
    for (what, lines) in [
        ("pieces of nothing", vec![task("10", "0")]),
        ("huge pieces", vec![task("10", "18446744073709551615")]),
        ("too many pieces", vec![task("18446744073709551615", "1")]),
        ("a negative length", vec![task("-1", "4")]),
        ("a piece before its task", vec![piece("0", &blake3)]),
        ("a piece behind the end", vec![task("10", "4"), piece("3", &blake3)]),
        ("the last piece there is", vec![task("null", "4"), piece("4294967295", &blake3)]),
        ("another algorithm", vec![task("10", "4"), piece("0", &digest("sha256", 32))]),
        ("the same piece twice", vec![task("10", "4"), piece("0", &blake3), piece("0", &blake3)]),
        ("complete without its pieces", vec![task("10", "4"), r#"{"kind":"complete"}"#.to_owned()]),
        ("two tasks", vec![task("10", "4"), task("10", "4")]),
        (
            "a length before its pieces",
            vec![task("null", "4"), piece("5", &blake3), r#"{"kind":"length","length":4}"#.to_owned()],
        ),
        ("a stranger", vec![r#"{"kind":"surprise"}"#.to_owned()]),
    ] {
        let believed: Vec<u8> = lines[..lines.len() - 1].iter().flat_map(|line| raw(line)).collect();
        let all: Vec<u8> = lines.iter().flat_map(|line| raw(line)).collect();
        let found = parse(&all);
        assert_eq!((found.trusted_bytes, found.has_rest), (believed.len() as u64, true), "{what}");
        assert!(!found.complete, "{what}");
    }
}

#[test]
fn a_line_without_an_end_is_not_read_to_its_end() {
    struct Endless;
    impl io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'x');
            Ok(buffer.len())
        }
    }
    let found = Recovered::parse(BufReader::new(Endless)).unwrap();
    assert!(found.has_rest && found.trusted_bytes == 0);
}

/// What every parse result must be, whatever was parsed.
fn assert_consistent(found: &Recovered, bytes: &[u8]) {
    assert!(found.trusted_bytes <= bytes.len() as u64);
    assert_eq!(found.has_rest, found.trusted_bytes < bytes.len() as u64);
    let Some(meta) = &found.meta else {
        assert!(found.piece_count() == 0 && !found.complete);
        return;
    };
    assert!(meta.is_sound());
    assert!(found.marks.since(0).all(|(index, _)| meta.piece_range(index).is_some()));
    let all = meta.length.map(|length| length.div_ceil(meta.piece_length));
    assert!(!found.complete || all == Some(found.piece_count() as u64));
    assert!(meta.length.is_none_or(|length| found.held_bytes() <= length));
}

fn good_record() -> Vec<u8> {
    let pieces = [1, 0, 2].map(|index| Line::piece(index, &hash(index)));
    let [a, b, c] = pieces;
    text(&[Line::Task { meta: meta(None) }, a, b, Line::Length { length: 10 }, c, Line::Complete])
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        assert_consistent(&parse(&bytes), &bytes);
    }

    #[test]
    fn of_a_damaged_record_a_true_prefix_is_believed(at in 0..1000usize, flip in 1..=255u8, cut in 0..1000usize) {
        let good = good_record();
        prop_assert!(parse(&good).complete);
        let at = at % good.len();
        let mut bad = good.clone();
        bad[at] ^= flip;
        bad.truncate(good.len() - cut % good.len());
        let found = parse(&bad);
        assert_consistent(&found, &bad);
        prop_assert!(found.trusted_bytes <= at as u64 || at >= bad.len());
        for (index, believed) in found.marks.since(0) {
            prop_assert_eq!(*believed, hash(index));
        }
    }

    #[test]
    fn lines_that_are_well_formed_but_nonsense_are_read_without_harm(
        lines in proptest::collection::vec((0..4u8, any::<u64>(), 0..5u64, any::<u32>()), 0..30)
    ) {
        let bytes: Vec<u8> = lines
            .into_iter()
            .flat_map(|(kind, large, small, index)| {
                let line = match kind {
                    0 => Line::Task { meta: Meta { length: (large % 3 > 0).then_some(large % 40), piece_length: small, ..meta(None) } },
                    1 => Line::Piece { index: index % 8, digest: piece_digest(&hash(index)) },
                    2 => Line::Length { length: if small == 0 { large } else { small * 8 } },
                    _ => Line::Complete,
                };
                line.to_bytes().unwrap()
            })
            .collect();
        assert_consistent(&parse(&bytes), &bytes);
    }
}
