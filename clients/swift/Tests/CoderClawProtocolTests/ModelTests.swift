import CoderClawProtocol
import Foundation
import XCTest

/// What the models promise beyond what examples and recordings happen to hold.
final class ModelTests: XCTestCase {
    // MARK: Enums

    func testUnknownWordIsKept() throws {
        let json: JSONValue = ["runId": "c1", "status": "of-tomorrow"]
        let status: ChatRunStatus = try json.decode()
        XCTAssertEqual(status.status, .unknown("of-tomorrow"))
        XCTAssertEqual(try JSONValue(encoding: status), json)
    }

    func testEqualWordsAreEqual() {
        XCTAssertEqual(Set([ChatState.delta, .unknown("delta"), ChatState(rawValue: "delta")]).count, 1)
        XCTAssertNotEqual(ChatState.delta, .final)
        XCTAssertEqual(SessionKind(rawValue: "unknown"), .unknown)
        XCTAssertEqual(SessionKind(rawValue: "new"), .unlisted("new"))
    }

    // MARK: Null and absent

    func testNullIsNotAbsent() throws {
        var patch = SessionsPatchParams(key: "main")
        XCTAssertEqual(try JSONValue(encoding: patch), ["key": "main"])
        patch.model = .null
        patch.label = .value("Home")
        patch.sendPolicy = .value(.deny)
        let json: JSONValue = ["key": "main", "model": nil, "label": "Home", "sendPolicy": "deny"]
        XCTAssertEqual(try JSONValue(encoding: patch), json)
        XCTAssertEqual(try json.decode(as: SessionsPatchParams.self), patch)
        XCTAssertEqual(patch.label?.value, "Home")
        XCTAssertNil(patch.model?.value)
    }

    func testRequiredMemberMayBeNull() throws {
        let payload = AgentPayload(text: "word0", mediaUrl: nil)
        let json: JSONValue = ["text": "word0", "mediaUrl": nil]
        XCTAssertEqual(try JSONValue(encoding: payload), json)
        XCTAssertEqual(try json.decode(as: AgentPayload.self), payload)
        XCTAssertThrowsError(try (["text": "word0"] as JSONValue).decode(as: AgentPayload.self))
    }

    func testNullWhereNoneIsPermitted() {
        let json: JSONValue = ["runId": "c1", "status": "error", "summary": nil]
        XCTAssertThrowsError(try json.decode(as: ChatRunStatus.self)) { error in
            XCTAssertEqual(path(error), "summary")
        }
    }

    func testUntypedMemberMayBeNull() throws {
        let json: JSONValue = ["type": "res", "id": "r1", "ok": true, "payload": nil]
        let frame: ResponseFrame = try json.decode()
        XCTAssertEqual(frame.payload, .null)
        XCTAssertEqual(try JSONValue(encoding: frame), json)
    }

    // MARK: Unions and constants

    func testUnionTakesTheVariantThatFits() throws {
        let started: ChatSendResult = try (["runId": "c1", "status": "started"] as JSONValue).decode()
        XCTAssertEqual(started, .runStatus(ChatRunStatus(runId: "c1", status: .started)))
        let aborted: ChatSendResult = try (["ok": true, "aborted": true, "runIds": ["c1"], "since": 1] as JSONValue).decode()
        XCTAssertEqual(aborted, .abortResult(ChatAbortResult(aborted: true, runIds: ["c1"])))
        XCTAssertThrowsError(try (["runId": "c1"] as JSONValue).decode(as: ChatSendResult.self))
    }

    func testConstantIsWrittenAndChecked() throws {
        XCTAssertEqual(try JSONValue(encoding: OkResult()), ["ok": true])
        XCTAssertTrue(OkResult().ok)
        XCTAssertThrowsError(try (["ok": false] as JSONValue).decode(as: OkResult.self)) { error in
            XCTAssertEqual(path(error), "ok")
        }
    }

    func testEmptyObjectIsAnObject() throws {
        XCTAssertEqual(try JSONValue(encoding: ModelsListParams()), [:])
        XCTAssertThrowsError(try ([] as JSONValue).decode(as: ModelsListParams.self))
    }

    // MARK: Frames, events, methods

    func testUnknownFrameKeepsItsJSON() throws {
        let json: JSONValue = ["type": "batch", "frames": [1, nil]]
        let frame = try GatewayFrame(parsing: json.data())
        XCTAssertEqual(frame, .unknown(type: "batch", value: json))
        XCTAssertEqual(try JSONValue(parsing: frame.data()), json)
        XCTAssertThrowsError(try GatewayFrame(parsing: Data(#"{"id":1}"#.utf8)))
    }

    func testUnknownEventKeepsItsPayload() throws {
        let json: JSONValue = ["type": "event", "event": "of.tomorrow", "payload": ["n": 9_007_199_254_740_993], "seq": 4]
        guard case .event(let event) = try GatewayFrame(parsing: json.data()) else { return XCTFail("no event") }
        XCTAssertEqual(event.seq, 4)
        XCTAssertEqual(try event.decoded(), .unknown(name: "of.tomorrow", payload: ["n": 9_007_199_254_740_993]))
    }

    func testFaultTellsItsPath() throws {
        let event = EventFrame(event: "chat", payload: ["runId": "c1", "sessionKey": "main", "seq": "2", "state": "delta"])
        XCTAssertThrowsError(try event.decoded()) { XCTAssertEqual(path($0), "payload.seq") }
        let presence = EventFrame(event: "presence", payload: ["presence": [["ts": 1], ["ts": true]]])
        XCTAssertThrowsError(try presence.decoded()) { XCTAssertEqual(path($0), "payload.presence.1.ts") }
        XCTAssertThrowsError(try EventFrame(event: "tick").decoded())
    }

    func testMethodMakesRequestAndReadsResult() throws {
        let method = GatewayMethod.chatHistory
        XCTAssertEqual(method.name, "chat.history")
        XCTAssertEqual(method.scope, GatewayScope.operatorRead)
        XCTAssertFalse(method.isIdempotent)
        let request = try method.request(id: "r1", params: ChatHistoryParams(sessionKey: "main", limit: 5))
        let frame: JSONValue = ["type": "req", "id": "r1", "method": "chat.history", "params": ["sessionKey": "main", "limit": 5]]
        XCTAssertEqual(try JSONValue(encoding: GatewayFrame.request(request)), frame)

        let payload: JSONValue = ["sessionKey": "main", "messages": [], "thinkingLevel": "off"]
        let history = try method.result(of: ResponseFrame(id: "r1", ok: true, payload: payload))
        XCTAssertEqual(history, ChatHistoryResult(sessionKey: "main", messages: [], thinkingLevel: "off"))
        XCTAssertThrowsError(try method.result(of: ResponseFrame(id: "r1", ok: true, payload: ["messages": []])))
    }

    func testRefusalIsAnError() throws {
        let refusal = ErrorShape(code: GatewayErrorCode.invalidRequest, message: "missing scope: operator.read")
        XCTAssertThrowsError(try GatewayMethod.health.result(of: ResponseFrame(id: "r1", ok: false, error: refusal))) {
            XCTAssertEqual($0 as? ErrorShape, refusal)
        }
    }

    func testStagedMethodAnswersTwice() throws {
        let method = GatewayMethod.agent
        XCTAssertTrue(method.isIdempotent)
        let first = ResponseFrame(id: "r1", ok: true, payload: ["runId": "a1", "status": "accepted", "acceptedAt": 1])
        let second = ResponseFrame(id: "r1", ok: true, payload: ["runId": "a1", "status": "ok", "summary": "completed"])
        XCTAssertEqual(try method.ack(of: first).runId, "a1")
        XCTAssertThrowsError(try method.ack(of: second))
        XCTAssertEqual(try method.result(of: second).status, .ok)

        let error = ErrorShape(code: GatewayErrorCode.unavailable, message: "no model")
        let failed = ResponseFrame(id: "r1", ok: false, payload: ["runId": "a1", "status": "error", "summary": "no model"], error: error)
        XCTAssertThrowsError(try method.result(of: failed)) { XCTAssertEqual($0 as? ErrorShape, error) }
        XCTAssertEqual(try method.failure(of: failed)?.status, .error)
    }

    func testResultMayBeNull() throws {
        XCTAssertNil(try GatewayMethod.lastHeartbeat.result(of: ResponseFrame(id: "r1", ok: true, payload: .null)))
    }

    // MARK: Tables

    func testScopesImplyOthers() {
        XCTAssertTrue(GatewayScope.allows([GatewayScope.operatorWrite], need: GatewayScope.operatorRead))
        XCTAssertFalse(GatewayScope.allows([GatewayScope.operatorRead], need: GatewayScope.operatorWrite))
        XCTAssertTrue(GatewayScope.allows([GatewayScope.operatorAdmin], need: GatewayScope.operatorPairing))
        XCTAssertFalse(GatewayScope.allows([], need: GatewayScope.operatorRead))
        XCTAssertTrue(GatewayScope.allows([], need: nil))
    }

    func testCatalogueExplains() throws {
        let info = try XCTUnwrap(GatewayErrorInfo.find(GatewayErrorDetail.pairingRequired))
        XCTAssertEqual(info.error, GatewayErrorCode.notPaired)
        XCTAssertEqual(info.closeCode, 1008)
        XCTAssertFalse(info.fix.isEmpty)
        XCTAssertNil(GatewayErrorInfo.find("NO_SUCH_CODE"))
        XCTAssertEqual(GatewayClose.slowConsumer, GatewayClose.slowConsumer)
        XCTAssertEqual(GatewayClose.slowConsumer.code, 1008)
        XCTAssertTrue(GatewayClose.serviceRestart.isRetryable)
    }

    private func path(_ error: any Error) -> String? {
        let context: DecodingError.Context
        switch error as? DecodingError {
        case .typeMismatch(_, let found), .valueNotFound(_, let found), .dataCorrupted(let found): context = found
        case .keyNotFound(let key, let found):
            return (found.codingPath + [key]).map(\.stringValue).joined(separator: ".")
        default: return nil
        }
        return context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".")
    }
}
