/// Where a decoder stands. A chain instead of an array, because almost no decoding
/// fails and so almost nobody asks for the keys.
indirect enum JSONPath {
    case root
    case member(any CodingKey, of: JSONPath)

    var keys: [any CodingKey] {
        var keys: [any CodingKey] = []
        var path = self
        while case .member(let key, let parent) = path {
            keys.append(key)
            path = parent
        }
        return keys.reversed()
    }
}

/// A key that is no case of an enum: an element of a list or a name made up at run time.
struct AnyKey: CodingKey {
    let stringValue: String
    let intValue: Int?

    init(_ name: String) {
        stringValue = name
        intValue = nil
    }

    init(index: Int) {
        stringValue = "Index \(index)"
        intValue = index
    }

    init?(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { self.init(index: intValue) }
}

extension JSONValue {
    func decode<T: Decodable>(as type: T.Type, at path: @autoclosure () -> JSONPath) throws -> T {
        if let value = scalar(as: type) { return value }
        return try T(from: JSONValueDecoder(value: self, path: path()))
    }

    /// Returns the value when no decoder is needed: the types that frames are full of.
    @inline(__always)
    private func scalar<T: Decodable>(as type: T.Type) -> T? {
        if T.self == JSONValue.self { return self as? T }
        switch self {
        case .string(let text) where T.self == String.self: return text as? T
        case .int(let number) where T.self == Int64.self: return number as? T
        case .bool(let truth) where T.self == Bool.self: return truth as? T
        case .object(let members) where T.self == [String: JSONValue].self: return members as? T
        default: return nil
        }
    }

    /// The JSON type in words, for faults.
    private var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .int: "a whole number"
        case .double: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }

    func mismatch(_ type: Any.Type, _ path: JSONPath, expected: String? = nil) -> DecodingError {
        let text = "expected \(expected ?? "\(type)"), found \(kind)"
        let context = DecodingError.Context(codingPath: path.keys, debugDescription: text)
        if case .null = self { return .valueNotFound(type, context) }
        return .typeMismatch(type, context)
    }
}

/// Decodes types from a ``JSONValue``.
///
/// Its decodeIfPresent takes only an absent member for absent. Foundation's decoders take
/// null for absent too, which the protocol does not: a null where none is permitted is a
/// fault of the sender, and where null means something the generated types read it.
struct JSONValueDecoder: Decoder {
    let value: JSONValue
    let path: JSONPath

    var codingPath: [any CodingKey] { path.keys }
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard case .object(let members) = value else { throw value.mismatch([String: JSONValue].self, path, expected: "an object") }
        return KeyedDecodingContainer(JSONMembers<Key>(members: members, path: path))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard case .array(let items) = value else { throw value.mismatch([JSONValue].self, path, expected: "an array") }
        return JSONItems(items: items, path: path)
    }

    func singleValueContainer() throws -> any SingleValueDecodingContainer {
        JSONScalar(value: value, path: path)
    }
}

/// The members of an object. One generic function serves every type that is asked for.
private struct JSONMembers<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let members: [String: JSONValue]
    let path: JSONPath

    var codingPath: [any CodingKey] { path.keys }
    var allKeys: [Key] { members.keys.compactMap { Key(stringValue: $0) } }

    func contains(_ key: Key) -> Bool { members[key.stringValue] != nil }

    func decodeNil(forKey key: Key) throws -> Bool { try member(key) == .null }

    func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
        try member(key).decode(as: type, at: .member(key, of: path))
    }

    func decodeIfPresent<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T? { try optional(key) }

    // The standard library has a default for each of these that takes null for absent.
    func decodeIfPresent(_ type: Bool.Type, forKey key: Key) throws -> Bool? { try optional(key) }
    func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? { try optional(key) }
    func decodeIfPresent(_ type: Double.Type, forKey key: Key) throws -> Double? { try optional(key) }
    func decodeIfPresent(_ type: Float.Type, forKey key: Key) throws -> Float? { try optional(key) }
    func decodeIfPresent(_ type: Int.Type, forKey key: Key) throws -> Int? { try optional(key) }
    func decodeIfPresent(_ type: Int8.Type, forKey key: Key) throws -> Int8? { try optional(key) }
    func decodeIfPresent(_ type: Int16.Type, forKey key: Key) throws -> Int16? { try optional(key) }
    func decodeIfPresent(_ type: Int32.Type, forKey key: Key) throws -> Int32? { try optional(key) }
    func decodeIfPresent(_ type: Int64.Type, forKey key: Key) throws -> Int64? { try optional(key) }
    func decodeIfPresent(_ type: UInt.Type, forKey key: Key) throws -> UInt? { try optional(key) }
    func decodeIfPresent(_ type: UInt8.Type, forKey key: Key) throws -> UInt8? { try optional(key) }
    func decodeIfPresent(_ type: UInt16.Type, forKey key: Key) throws -> UInt16? { try optional(key) }
    func decodeIfPresent(_ type: UInt32.Type, forKey key: Key) throws -> UInt32? { try optional(key) }
    func decodeIfPresent(_ type: UInt64.Type, forKey key: Key) throws -> UInt64? { try optional(key) }

    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type, forKey key: Key) throws -> KeyedDecodingContainer<Nested> {
        try superDecoder(forKey: key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
        try superDecoder(forKey: key).unkeyedContainer()
    }

    func superDecoder() throws -> any Decoder {
        JSONValueDecoder(value: members["super"] ?? .null, path: .member(AnyKey("super"), of: path))
    }

    func superDecoder(forKey key: Key) throws -> any Decoder {
        JSONValueDecoder(value: try member(key), path: .member(key, of: path))
    }

    private func optional<T: Decodable>(_ key: Key) throws -> T? {
        try members[key.stringValue]?.decode(as: T.self, at: .member(key, of: path))
    }

    private func member(_ key: Key) throws -> JSONValue {
        guard let value = members[key.stringValue] else {
            throw DecodingError.keyNotFound(key, .init(codingPath: path.keys, debugDescription: "the member \(key.stringValue) is missing"))
        }
        return value
    }
}

/// The elements of an array.
private struct JSONItems: UnkeyedDecodingContainer {
    let items: [JSONValue]
    let path: JSONPath
    var currentIndex = 0

    var codingPath: [any CodingKey] { path.keys }
    var count: Int? { items.count }
    var isAtEnd: Bool { currentIndex == items.count }

    mutating func decodeNil() throws -> Bool {
        guard try item(Never.self) == .null else { return false }
        currentIndex += 1
        return true
    }

    mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
        let value = try item(type).decode(as: type, at: here)
        currentIndex += 1
        return value
    }

    mutating func nestedContainer<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        try superDecoder().container(keyedBy: type)
    }

    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
        try superDecoder().unkeyedContainer()
    }

    mutating func superDecoder() throws -> any Decoder {
        let decoder = JSONValueDecoder(value: try item(JSONValue.self), path: here)
        currentIndex += 1
        return decoder
    }

    private var here: JSONPath { .member(AnyKey(index: currentIndex), of: path) }

    private func item(_ type: Any.Type) throws -> JSONValue {
        guard !isAtEnd else {
            throw DecodingError.valueNotFound(type, .init(codingPath: here.keys, debugDescription: "the array ends here"))
        }
        return items[currentIndex]
    }
}

/// One value. The types of the standard library decode themselves through it, so each of
/// them has its own function here: a generic one would call itself.
private struct JSONScalar: SingleValueDecodingContainer {
    let value: JSONValue
    let path: JSONPath

    var codingPath: [any CodingKey] { path.keys }

    func decodeNil() -> Bool { value == .null }

    func decode(_ type: Bool.Type) throws -> Bool {
        guard case .bool(let truth) = value else { throw value.mismatch(type, path) }
        return truth
    }

    func decode(_ type: String.Type) throws -> String {
        guard case .string(let text) = value else { throw value.mismatch(type, path) }
        return text
    }

    func decode(_ type: Double.Type) throws -> Double {
        guard let number = value.doubleValue else { throw value.mismatch(type, path) }
        return number
    }

    func decode(_ type: Float.Type) throws -> Float { Float(try decode(Double.self)) }
    func decode(_ type: Int.Type) throws -> Int { try integer() }
    func decode(_ type: Int8.Type) throws -> Int8 { try integer() }
    func decode(_ type: Int16.Type) throws -> Int16 { try integer() }
    func decode(_ type: Int32.Type) throws -> Int32 { try integer() }
    func decode(_ type: Int64.Type) throws -> Int64 { try integer() }
    func decode(_ type: UInt.Type) throws -> UInt { try integer() }
    func decode(_ type: UInt8.Type) throws -> UInt8 { try integer() }
    func decode(_ type: UInt16.Type) throws -> UInt16 { try integer() }
    func decode(_ type: UInt32.Type) throws -> UInt32 { try integer() }
    func decode(_ type: UInt64.Type) throws -> UInt64 { try integer() }

    func decode<T: Decodable>(_ type: T.Type) throws -> T { try value.decode(as: type, at: path) }

    private func integer<T: FixedWidthInteger>() throws -> T {
        guard case .int(let number) = value, let fit = T(exactly: number) else { throw value.mismatch(T.self, path) }
        return fit
    }
}
