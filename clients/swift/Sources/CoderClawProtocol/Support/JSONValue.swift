import Foundation

/// Any JSON value.
///
/// It stands where the schema leaves a value open, and keeps what an unknown frame, event
/// or variant carried. Whole numbers that fit 64 bits are ``int(_:)``, however they were
/// written, so that no digit of an id or a time is lost; every other number is a
/// ``double(_:)``. Two values are equal when they mean the same JSON.
public enum JSONValue: Sendable, Hashable {
    /// The value `null`, which is not the same as an absent member.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// A whole number of at most 64 bits.
    case int(Int64)
    /// Any other number.
    case double(Double)
    /// Text.
    case string(String)
    /// A list.
    case array([JSONValue])
    /// Members by name. Their order means nothing in JSON and is not kept.
    case object([String: JSONValue])
}

// MARK: - Bytes and types

extension JSONValue {
    /// Reads one JSON text.
    ///
    /// A member named twice, bytes that are not UTF-8, a number beyond the range of
    /// `Double` and nesting deeper than 512 are refused. An unpaired surrogate escape,
    /// which gateways send when they cut a text, becomes U+FFFD.
    ///
    /// - Throws: `DecodingError.dataCorrupted` that tells the byte offset.
    public init(parsing data: Data) throws {
        self = try data.withUnsafeBytes { raw in
            try raw.withMemoryRebound(to: UInt8.self) { try JSONParser.parse($0) }
        }
    }

    /// Converts a value of the protocol to JSON.
    ///
    /// - Throws: `EncodingError` when a number is not finite.
    public init(encoding value: some Encodable) throws {
        try self.init(parsing: Self.encoder().encode(value))
    }

    /// Converts this value to a type of the protocol.
    ///
    /// Unknown members are dropped and unknown values of enums kept. A member that is null
    /// is absent only where the schema permits null: that is stricter than `JSONDecoder`,
    /// and what the gateway itself does.
    ///
    /// - Throws: `DecodingError` with the path of the fault.
    public func decode<T: Decodable>(as type: T.Type = T.self) throws -> T {
        try decode(as: type, at: .root)
    }

    /// Returns the value as one line of JSON, members sorted by name.
    ///
    /// - Throws: `EncodingError` when a number is not finite.
    public func data() throws -> Data {
        var writer = JSONWriter()
        try writer.write(self)
        return Data(writer.text)
    }

    static func encoder() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}

// MARK: - Looking inside

extension JSONValue {
    /// The member of an object, or nil when this is no object or has no such member.
    public subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[name]
    }

    /// The element of an array, or nil when this is no array or has no such element.
    public subscript(index: Int) -> JSONValue? {
        guard case .array(let items) = self, items.indices.contains(index) else { return nil }
        return items[index]
    }

    /// The text, or nil when this is no string.
    public var stringValue: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The whole number, or nil when this is none.
    public var intValue: Int64? {
        guard case .int(let number) = self else { return nil }
        return number
    }

    /// The number, or nil when this is none. A whole number beyond 2^53 is rounded.
    public var doubleValue: Double? {
        switch self {
        case .int(let number): Double(number)
        case .double(let number): number
        default: nil
        }
    }

    /// The truth, or nil when this is no boolean.
    public var boolValue: Bool? {
        guard case .bool(let truth) = self else { return nil }
        return truth
    }
}

extension JSONValue: CustomStringConvertible {
    /// The value as one line of JSON.
    public var description: String {
        (try? data()).map { String(decoding: $0, as: UTF8.self) } ?? "a number that JSON cannot hold"
    }
}

// MARK: - Codable

extension JSONValue: Codable {
    /// Reads any value.
    ///
    /// With a decoder of another make the cases are tried in turn, which is slow where
    /// failures are slow: prefer ``init(parsing:)``.
    public init(from decoder: any Decoder) throws {
        if let own = decoder as? JSONValueDecoder {
            self = own.value
            return
        }
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let text = try? container.decode(String.self) {
            self = .string(text)
        } else if let truth = try? container.decode(Bool.self) {
            self = .bool(truth)
        } else if let number = try? container.decode(Int64.self) {
            self = .int(number)
        } else if let number = try? container.decode(Double.self) {
            self = .double(number)
        } else if let members = try? container.decode([String: JSONValue].self) {
            self = .object(members)
        } else {
            self = .array(try container.decode([JSONValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let truth): try container.encode(truth)
        case .int(let number): try container.encode(number)
        case .double(let number): try container.encode(number)
        case .string(let text): try container.encode(text)
        case .array(let items): try container.encode(items)
        case .object(let members): try container.encode(members)
        }
    }
}

// MARK: - Literals

extension JSONValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByArrayLiteral,
    ExpressibleByDictionaryLiteral
{
    public init(nilLiteral: ()) { self = .null }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .int(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }

    /// A name that stands twice takes the later value.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements) { _, later in later })
    }
}
