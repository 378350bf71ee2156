/// A method of the protocol that answers once.
///
/// The table of all methods is ``GatewayMethod``:
///
/// ```swift
/// let request = try GatewayMethod.chatHistory.request(id: "r1", params: .init(sessionKey: "main"))
/// let history = try GatewayMethod.chatHistory.result(of: response)
/// ```
public struct Method<Params: Codable & Sendable, Result: Codable & Sendable>: Sendable {
    /// The name on the wire, such as `chat.send`.
    public let name: String
    /// The scope that an operator needs, or nil when none is needed.
    public let scope: String?
    /// Whether the params carry an idempotency key, so that sending twice does no harm.
    public let isIdempotent: Bool

    init(_ name: String, scope: String?, isIdempotent: Bool) {
        self.name = name
        self.scope = scope
        self.isIdempotent = isIdempotent
    }
}

/// A method of the protocol that answers twice: an ack at once and the result at the end,
/// both under the request's id.
public struct StagedMethod<Params: Codable & Sendable, Ack: Codable & Sendable, Result: Codable & Sendable>: Sendable {
    /// The name on the wire, such as `agent`.
    public let name: String
    /// The scope that an operator needs, or nil when none is needed.
    public let scope: String?
    /// Whether the params carry an idempotency key, so that sending twice does no harm.
    public let isIdempotent: Bool

    init(_ name: String, scope: String?, isIdempotent: Bool) {
        self.name = name
        self.scope = scope
        self.isIdempotent = isIdempotent
    }
}

/// Every method of the protocol by name, with the types of its params and its result.
public enum GatewayMethod {}

extension JSONPath {
    /// The payload of a frame.
    static var payload: JSONPath { .member(AnyKey("payload"), of: .root) }
}
