//! The values of one request.

use std::ops::Range;

use zeroize::Zeroize;

use super::wiped_bytes::WipedBytes;

/// The end of a request's body.
const END: &[u8] = b"]}";

/// The values of one request, which can be sent in parts.
pub(super) struct ChunkRequest {
    /// The body without its end.
    body: WipedBytes,
    /// Where each item begins in the body.
    starts: Vec<usize>,
    /// The rows of its items, each with the index of its first item here.
    rows: Vec<(usize, usize)>,
}

impl ChunkRequest {
    pub(super) fn new(opening: &[u8]) -> Self {
        ChunkRequest { body: opening.to_vec().into(), starts: Vec::new(), rows: Vec::new() }
    }

    /// Returns the number of items.
    pub(super) fn items(&self) -> usize {
        self.starts.len()
    }

    /// Returns the length of the body without its end, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Adds an item of a row, which `write` appends.
    pub(super) fn add(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.starts.is_empty() {
            self.body.push(b',');
        }
        if self.rows.last().is_none_or(|(_, last)| *last != row) {
            self.rows.push((self.starts.len(), row));
        }
        self.starts.push(self.body.len());
        write(&mut self.body);
    }

    /// Returns the request after this one, which is full. If this row has items here, after those of others, they go there: a
    /// caller whose limits allow this request only has then paid for whole rows.
    pub(super) fn next(&mut self, row: usize, opening: &[u8]) -> Self {
        let mut next = ChunkRequest::new(opening);
        if let Some((first, _)) = self.rows.last().copied().filter(|(first, last)| *last == row && *first > 0) {
            let at = self.starts[first];
            let moved = at - next.body.len();
            next.body.extend_from_slice(&self.body[at..]);
            next.starts = self.starts.split_off(first).into_iter().map(|start| start - moved).collect();
            next.rows.extend(self.rows.pop().map(|(_, row)| (0, row)));
            // With the comma before it.
            self.body[at - 1..].zeroize();
            self.body.truncate(at - 1);
        }
        next
    }

    /// Returns the end of a part that begins with the item `first` and has at most `most` items: whole rows, except of a row
    /// with more.
    pub(super) fn part_end(&self, first: usize, most: usize) -> usize {
        let end = first.saturating_add(most.max(1)).min(self.items());
        if end == self.items() { end } else { self.rows_end(first, most).unwrap_or(end) }
    }

    /// Returns the end of the same without all items, if it has a whole row.
    pub(super) fn rows_end(&self, first: usize, most: usize) -> Option<usize> {
        let starts = self.rows.iter().rev().map(|(start, _)| *start);
        starts.take_while(|start| *start > first).find(|start| start - first <= most)
    }

    /// Returns the body of a request with a part of the items.
    pub(super) fn part(&self, opening: &[u8], items: Range<usize>) -> WipedBytes {
        let start = self.starts.get(items.start).copied().unwrap_or(self.body.len());
        // The next item begins after a comma.
        let end = self.starts.get(items.end).map_or(self.body.len(), |next| next - 1);
        let mut body = WipedBytes::from(Vec::with_capacity(opening.len() + (end - start) + END.len()));
        body.extend_from_slice(opening);
        body.extend_from_slice(&self.body[start..end]);
        body.extend_from_slice(END);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: &[u8] = b"{[";

    fn request(rows: &[usize]) -> ChunkRequest {
        let mut request = ChunkRequest::new(OPENING);
        for (row, items) in rows.iter().enumerate() {
            (0..*items)
                .for_each(|item| request.add(row, |body| body.extend_from_slice(format!("{row}{item}").as_bytes())));
        }
        request
    }

    fn text(request: &ChunkRequest, items: Range<usize>) -> String {
        String::from_utf8(request.part(OPENING, items).to_vec()).unwrap()
    }

    #[test]
    fn a_row_that_does_not_fit_goes_into_the_next_request() {
        let mut full = request(&[2, 1, 2]);
        let mut next = full.next(2, OPENING);
        next.add(2, |body| body.extend_from_slice(b"22"));
        next.add(3, |body| body.extend_from_slice(b"30"));
        assert_eq!((text(&full, 0..3), full.items()), ("{[00,01,10]}".to_owned(), 3));
        assert_eq!((text(&next, 0..4), next.part_end(0, 3)), ("{[20,21,22,30]}".to_owned(), 3));
        // A row that is complete, or alone, stays.
        assert_eq!((full.next(2, OPENING).items(), full.items()), (0, 3));
        let mut alone = request(&[3]);
        assert_eq!((alone.next(0, OPENING).items(), alone.items()), (0, 3));
    }

    #[test]
    fn parts_are_whole_rows_unless_a_row_has_more_items() {
        let request = request(&[2, 3, 1]);
        for (first, most, end, rows) in [
            (0, 9, 6, Some(5)),
            (0, 6, 6, Some(5)),
            (0, 4, 2, Some(2)),
            (0, 1, 1, None),
            (2, 2, 4, None),
            (2, 3, 5, Some(5)),
            (4, 1, 5, Some(5)),
            (5, 1, 6, None),
        ] {
            assert_eq!((request.part_end(first, most), request.rows_end(first, most)), (end, rows), "{first} {most}");
        }
        assert_eq!(text(&request, 2..5), "{[10,11,12]}");
    }
}
