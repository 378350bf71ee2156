/// A value that may be null, for members that may also be absent.
///
/// Where absent means "leave it" and null means "clear it", an optional cannot tell the
/// two apart: such members have the type `Nullable<T>?`.
///
/// ```swift
/// var patch = SessionsPatchParams(key: "main")
/// patch.model = .null          // clears the model
/// patch.label = .value("Home") // sets the label
/// ```
public enum Nullable<Wrapped: Codable & Sendable & Hashable>: Codable, Sendable, Hashable {
    /// null on the wire.
    case null
    /// A value.
    case value(Wrapped)

    /// The value, or nil when it is null.
    public var value: Wrapped? {
        guard case .value(let value) = self else { return nil }
        return value
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        self = container.decodeNil() ? .null : .value(try container.decode(Wrapped.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .value(let value): try container.encode(value)
        }
    }
}
