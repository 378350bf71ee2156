import Foundation

// What the schema cannot say about frames: how they meet methods, events and bytes.
// Their types are generated, in Frames.swift one folder up.

extension ErrorShape: Error {}

extension GatewayFrame {
    /// Reads one message of the connection.
    ///
    /// - Throws: `DecodingError` when it is no JSON or no frame. A frame of an unknown
    ///   type is none of these: it is ``unknown(type:value:)``.
    public init(parsing data: Data) throws {
        self = try JSONValue(parsing: data).decode()
    }

    /// Returns the frame as one message.
    public func data() throws -> Data {
        try JSONValue.encoder().encode(self)
    }
}

extension EventFrame {
    /// Returns the payload as the type that the event's name tells.
    ///
    /// - Throws: `DecodingError` when the payload of a known event has another shape. An
    ///   unknown event is no error: it is ``GatewayEvent/unknown(name:payload:)``.
    public func decoded() throws -> GatewayEvent {
        try GatewayEvent(name: event, payload: payload)
    }
}

extension ResponseFrame {
    /// Returns the payload as what was asked for, or throws the error.
    fileprivate func decodePayload<T: Decodable>() throws -> T {
        guard ok else {
            throw error ?? ErrorShape(code: GatewayErrorCode.unavailable, message: "refused without a reason")
        }
        return try (payload ?? .null).decode(as: T.self, at: .payload)
    }
}

extension Method {
    /// Makes a request frame.
    ///
    /// - Parameter id: Any text that no other request in flight on the connection has.
    public func request(id: String, params: Params) throws -> RequestFrame {
        RequestFrame(id: id, method: name, params: try JSONValue(encoding: params))
    }

    /// Returns the result that a response carries.
    ///
    /// - Throws: ``ErrorShape`` when the gateway refused, `DecodingError` when the payload
    ///   is not what the method answers.
    public func result(of response: ResponseFrame) throws -> Result {
        try response.decodePayload()
    }
}

extension StagedMethod {
    /// Makes a request frame.
    ///
    /// - Parameter id: Any text that no other request in flight on the connection has.
    public func request(id: String, params: Params) throws -> RequestFrame {
        RequestFrame(id: id, method: name, params: try JSONValue(encoding: params))
    }

    /// Returns what the first response carries.
    ///
    /// - Throws: ``ErrorShape`` when the gateway refused, `DecodingError` when the payload
    ///   is no ack, as when a run that was known before is answered with its end at once.
    public func ack(of response: ResponseFrame) throws -> Ack {
        try response.decodePayload()
    }

    /// Returns what the second response carries.
    ///
    /// - Throws: ``ErrorShape`` when the run failed, of which ``failure(of:)`` tells more;
    ///   `DecodingError` when the payload is no result.
    public func result(of response: ResponseFrame) throws -> Result {
        try response.decodePayload()
    }

    /// Returns the result that came together with an error, or nil when there is none.
    public func failure(of response: ResponseFrame) throws -> Result? {
        guard !response.ok, let payload = response.payload else { return nil }
        return try payload.decode(as: Result.self, at: .payload)
    }
}
