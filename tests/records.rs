//! The layout of records and the golden blocks, both frozen. `docs/records.md` describes them.
//!
//! `REDMUX_BLESS=1 cargo test --test records` writes `tests/golden/`; a change there is a change of the ABI.

#[path = "records/golden.rs"]
mod golden;

use golden::{Golden, all};
use redmux::inbox::budget::{Config, Policy};
use redmux::inbox::{Budget, Inbox, Kind, Record, RecordIn};
use std::mem::{align_of, offset_of, size_of};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_record_is_64_bytes_and_its_fields_lie_where_the_page_says() {
    assert_eq!((size_of::<Record>(), align_of::<Record>()), (64, 8));
    let offsets = [
        offset_of!(Record, kind),
        offset_of!(Record, flags),
        offset_of!(Record, status),
        offset_of!(Record, source),
        offset_of!(Record, token),
        offset_of!(Record, number),
        offset_of!(Record, aux),
        offset_of!(Record, name_off),
        offset_of!(Record, name_len),
        offset_of!(Record, extra_off),
        offset_of!(Record, extra_len),
        offset_of!(Record, data_off),
        offset_of!(Record, data_len),
    ];
    assert_eq!(offsets, [0, 2, 4, 8, 16, 24, 32, 40, 44, 48, 52, 56, 60]);
}

#[test]
fn kinds_keep_their_numbers() {
    let numbered: Vec<(u16, String)> = Kind::ALL.iter().map(|&kind| (kind as u16, format!("{kind:?}"))).collect();
    let expected: Vec<(u16, String)> = golden::KINDS
        .iter()
        .zip(1..)
        .map(|(name, number)| (number, format!("{}{}", name[..1].to_uppercase(), &name[1..])))
        .collect();
    assert_eq!(numbered, expected);
}

#[test]
fn the_page_lists_every_kind_with_its_number() {
    let page = std::fs::read_to_string("docs/records.md").unwrap();
    for (name, number) in golden::KINDS.iter().zip(1..) {
        assert!(page.contains(&format!("| {number} | `{name}` |")), "{name} is missing in the table of kinds");
        assert!(page.contains(&format!("### {number} {name}")), "{name} has no section");
    }
}

#[test]
fn the_golden_blocks_are_what_they_were() {
    let folder = PathBuf::from("tests/golden");
    let bless = std::env::var_os("REDMUX_BLESS").is_some();
    let mut names = Vec::new();
    for block in all() {
        names.extend([format!("{}.bin", block.name), format!("{}.json", block.name)]);
        for (path, bytes) in [
            (folder.join(block.name).with_extension("bin"), block.bin()),
            (folder.join(block.name).with_extension("json"), block.json().into_bytes()),
        ] {
            if bless {
                std::fs::write(&path, &bytes).unwrap();
            } else {
                let kept = std::fs::read(&path).unwrap_or_default();
                assert!(kept == bytes, "{} differs; REDMUX_BLESS=1 writes it anew", path.display());
            }
        }
    }
    let mut found: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".bin") || name.ends_with(".json"))
        .collect();
    names.sort();
    found.sort();
    assert_eq!(found, names, "files of blocks that are no more");
}

#[test]
fn together_the_golden_blocks_hold_every_kind_an_unknown_one_and_empty_parts_at_zero() {
    let records: Vec<Record> = all().into_iter().flat_map(|block| block.records).collect();
    for kind in Kind::ALL {
        assert!(records.iter().any(|record| record.is(kind)), "{kind:?} is in no block");
    }
    assert!(records.iter().any(|record| record.kind > 19));
    for record in &records {
        for (off, len) in [
            (record.name_off, record.name_len),
            (record.extra_off, record.extra_len),
            (record.data_off, record.data_len),
        ] {
            assert!(len > 0 || off == 0, "an empty part of {record:?} is not at 0");
        }
    }
}

#[test]
fn every_part_of_a_golden_block_lies_within_its_data_and_the_data_spans_only_them() {
    for Golden { name, records, data, .. } in all() {
        let spans: Vec<(u32, u32)> = records.iter().filter_map(Record::span).collect();
        let from = spans.iter().map(|span| span.0).min().unwrap_or(0);
        let to = spans.iter().map(|span| span.1).max().unwrap_or(0);
        assert_eq!((from as usize, to as usize), (0, data.len()), "{name}");
    }
}

#[cfg(target_endian = "little")]
#[test]
fn a_records_bytes_in_memory_are_its_bytes_in_the_file() {
    for block in all() {
        let bin = block.bin();
        for (record, bytes) in block.records.iter().zip(bin.chunks_exact(64)) {
            let mut copy = Record::default();
            let to: *mut Record = &mut copy;
            // SAFETY: both are 64 bytes, a record has no padding, and any bits are a record.
            #[expect(unsafe_code, reason = "this is what C does with a block")]
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast::<u8>(), 64);
            }
            assert_eq!(copy, *record, "{}", block.name);
        }
    }
}

#[test]
fn an_inbox_lays_known_records_out_as_the_golden_blocks_do() {
    for block in all().into_iter().filter(|block| !matches!(block.name, "unknown" | "shared" | "extremes")) {
        let config = Config { bytes: 1 << 20, records: 0, policy: Policy::DropOldest };
        let inbox = Inbox::by_take(1, config, Arc::new(Budget::new(1 << 20)), Arc::default(), || {});
        for record in &block.records {
            inbox.push(&RecordIn {
                flags: record.flags,
                status: record.status,
                number: record.number,
                aux: record.aux,
                name: record.name(&block.data),
                extra: record.extra(&block.data),
                data: record.payload(&block.data),
                ..RecordIn::new(Kind::ALL[usize::from(record.kind) - 1], record.source, record.token)
            });
        }
        let lent = inbox.take(Some(Duration::ZERO)).unwrap();
        assert_eq!(lent.records(), block.records, "{}", block.name);
        assert_eq!(lent.data(), block.data, "{}", block.name);
    }
}
