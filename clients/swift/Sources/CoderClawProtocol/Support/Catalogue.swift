/// What the catalogue of errors says of a code or of a close reason.
public struct GatewayErrorInfo: Sendable, Hashable {
    /// A code of `error.code`, a code of `error.details.code`, or the name of a close.
    public let name: String
    /// What it means.
    public let meaning: String
    /// What it usually comes from.
    public let cause: String
    /// What helps.
    public let fix: String
    /// Whether the same request or connection may succeed later without a change.
    public let isRetryable: Bool
    /// Of a details code, the `error.code` that it travels under.
    public let error: String?
    /// Of a details code, the word for programs: `error.details.recommendedNextStep`.
    public let nextStep: String?
    /// The WebSocket close code that goes or follows with it.
    public let closeCode: Int?

    /// Returns the entry of this name, or nil.
    public static func find(_ name: String) -> GatewayErrorInfo? {
        catalogue.first { $0.name == name }
    }
}

/// A reason for which the gateway closes a connection.
public struct GatewayClose: Sendable, Hashable {
    /// The WebSocket close code.
    public let code: Int
    /// The reason as it is sent, which may be empty.
    public let reason: String
    /// Whether connecting again may help.
    public let isRetryable: Bool
}
