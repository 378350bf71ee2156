/// An enum of words that may grow: a word of a later version of the protocol is kept
/// instead of refused, and comes out again as it came in.
///
/// Two values are equal when they stand for the same word.
public protocol OpenEnum: RawRepresentable, Codable, Sendable, Hashable, CustomStringConvertible where RawValue == String {
    /// Takes any word.
    init(rawValue: String)
}

extension OpenEnum {
    /// The word on the wire.
    public var description: String { rawValue }

    /// Reports whether both stand for the same word.
    public static func == (a: Self, b: Self) -> Bool { a.rawValue == b.rawValue }

    public func hash(into hasher: inout Hasher) { hasher.combine(rawValue) }

    public init(from decoder: any Decoder) throws {
        self.init(rawValue: try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}
