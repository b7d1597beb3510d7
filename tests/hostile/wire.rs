//! Protobuf messages without their schema: just enough to change one field of an answer, or to leave it out.
//!
//! Everything else passes as it came, also what a later etcd may add. The numbers of fields are those of etcd's
//! `api/etcdserverpb/rpc.proto`.

/// The header of every answer.
pub const HEADER: u32 = 1;
/// Of a header: the cluster's id, the member's, the store's revision, the raft term.
pub const CLUSTER: u32 = 1;
/// See [`CLUSTER`].
pub const MEMBER: u32 = 2;
/// See [`CLUSTER`].
pub const REVISION: u32 = 3;
/// See [`CLUSTER`].
pub const RAFT_TERM: u32 = 4;
/// Of the answer to a grant and to a keepalive: which lease.
pub const LEASE: u32 = 2;
/// Of the same: its TTL in seconds.
pub const TTL: u32 = 3;
/// Of a transaction's answer: whether its comparisons held.
pub const SUCCEEDED: u32 = 2;
/// Of the same: what its operations came to.
pub const OPERATIONS: u32 = 3;
/// Of an operation's answer: that it was a read, and what was found.
pub const READ: u32 = 1;
/// Of the same: that it was a write.
pub const WRITTEN: u32 = 2;
/// Of a read's answer: the keys.
pub const KEYS: u32 = 2;
/// Of a watch's message: whether the watch was just created, whether it is over, from when on it may be begun
/// anew, why, and the events.
pub const CREATED: u32 = 3;
/// See [`CREATED`].
pub const CANCELED: u32 = 4;
/// See [`CREATED`].
pub const COMPACTED: u32 = 5;
/// See [`CREATED`].
pub const REASON: u32 = 6;
/// See [`CREATED`].
pub const EVENTS: u32 = 11;
/// Of an event: its type, and the key.
pub const TYPE: u32 = 1;
/// See [`TYPE`].
pub const KEY_VALUE: u32 = 2;

/// A message, as its fields in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message(Vec<(u32, Value)>);

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Message {
    /// Reads what etcd has written; panics at what it never writes.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut bytes)),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)).expect("a length");
                    let (value, rest) = bytes.split_at(length);
                    bytes = rest;
                    Value::Bytes(value.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((u32::try_from(tag >> 3).expect("a field"), value));
        }
        Self(fields)
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (field, value) in &self.0 {
            match value {
                Value::Number(number) => {
                    put_varint(&mut bytes, u64::from(*field) << 3);
                    put_varint(&mut bytes, *number);
                }
                Value::Bytes(value) => {
                    put_varint(&mut bytes, u64::from(*field) << 3 | 2);
                    put_varint(&mut bytes, value.len() as u64);
                    bytes.extend(value);
                }
            }
        }
        bytes
    }

    /// The number in a field; 0 where it is left out, as protobuf has it.
    pub fn number(&self, field: u32) -> u64 {
        let mut found = self.0.iter().filter(|(f, _)| *f == field);
        match found.next() {
            Some((_, Value::Number(number))) => *number,
            _ => 0,
        }
    }

    /// The messages in a field.
    pub fn all(&self, field: u32) -> Vec<Self> {
        let found = self.0.iter().filter(|(f, _)| *f == field);
        found
            .filter_map(|(_, value)| match value {
                Value::Bytes(bytes) => Some(Self::parse(bytes)),
                Value::Number(_) => None,
            })
            .collect()
    }

    /// Without that field.
    pub fn without(mut self, field: u32) -> Self {
        self.0.retain(|(f, _)| *f != field);
        self
    }

    /// With that number alone in the field.
    pub fn with_number(self, field: u32, number: i64) -> Self {
        let mut changed = self.without(field);
        changed
            .0
            .push((field, Value::Number(number.cast_unsigned())));
        changed
    }

    /// With these bytes, or this text, one more time in the field.
    pub fn and(mut self, field: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.push((field, Value::Bytes(bytes.into())));
        self
    }

    /// With each message in the field changed.
    pub fn map(mut self, field: u32, change: impl Fn(Self) -> Self) -> Self {
        for (f, value) in &mut self.0 {
            if let (true, Value::Bytes(bytes)) = (*f == field, value) {
                *bytes = change(Self::parse(bytes)).bytes();
            }
        }
        self
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().expect("the rest of a number");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits");
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}
