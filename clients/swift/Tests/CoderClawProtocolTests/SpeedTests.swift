import CoderClawProtocol
import Foundation
import XCTest

/// Streams of agent events are the most of what a client reads.
final class SpeedTests: XCTestCase {
    private static let ratioMax = 3.0
    private static let attempts = 5

    /// A thousand agent events, from bytes to typed payloads, take at most three times
    /// what JSONSerialization takes to make dictionaries of them.
    func testAgentEventsDecodeFast() throws {
        #if DEBUG
        throw XCTSkip("says nothing without optimisation: swift test -c release")
        #else
        let messages = try agentEvents(1000)
        var best = Double.infinity
        for attempt in 1...Self.attempts where best > Self.ratioMax || attempt == 1 {
            let ours = try seconds {
                for message in messages {
                    guard case .event(let frame) = try GatewayFrame(parsing: message), case .agent = try frame.decoded() else {
                        return XCTFail("no agent event")
                    }
                }
            }
            let theirs = try seconds {
                for message in messages { _ = try JSONSerialization.jsonObject(with: message) }
            }
            best = min(best, ours / theirs)
            let bytes = messages.reduce(0) { $0 + $1.count } / messages.count
            print(String(format: "speed: 1000 agent events of %d bytes: typed %.2f ms, JSONSerialization %.2f ms, ratio %.2f (at most %.0f)",
                bytes, ours * 1000, theirs * 1000, ours / theirs, Self.ratioMax))
        }
        XCTAssertLessThanOrEqual(best, Self.ratioMax)
        #endif
    }

    /// For the record, the same by Foundation's decoder.
    func testFoundationDecodes() throws {
        #if !DEBUG
        let messages = try agentEvents(1000)
        let decoder = JSONDecoder()
        let time = try seconds { for message in messages { _ = try decoder.decode(GatewayFrame.self, from: message) } }
        print(String(format: "speed: the same by JSONDecoder %.2f ms", time * 1000))
        #endif
        let hello = try GatewayFrame(parsing: helloOk())
        XCTAssertEqual(try JSONDecoder().decode(GatewayFrame.self, from: helloOk()), hello)
    }

    /// The shortest of some runs: what the machine does besides only makes them longer.
    private func seconds(_ run: () throws -> Void) throws -> Double {
        try (0..<15).map { _ in
            let start = DispatchTime.now().uptimeNanoseconds
            try run()
            return Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        }.min() ?? .infinity
    }

    /// Recorded agent events, as often as it takes to have count of them.
    private func agentEvents(_ count: Int) throws -> [Data] {
        let recorded = try Repository.lines("testdata/frames/agent-run.jsonl").compactMap { $0["frame"] }.filter { $0["event"] == "agent" }
        XCTAssertGreaterThanOrEqual(recorded.count, 10)
        return try (0..<count).map { try recorded[$0 % recorded.count].data() }
    }

    private func helloOk() throws -> Data {
        let lines = try Repository.lines("testdata/frames/agent-run.jsonl")
        return try XCTUnwrap(lines.first { $0["frame"]?["payload"]?["type"] == "hello-ok" }?["frame"]).data()
    }
}
