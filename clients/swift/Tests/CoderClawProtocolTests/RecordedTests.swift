import CoderClawProtocol
import Foundation
import XCTest

/// What crossed the wire has to come through the models unharmed.
final class RecordedTests: XCTestCase {
    /// Every recorded message, its params or payload by their type, and nothing changed but
    /// that members which the schema does not name are gone. What a client may refuse is
    /// told by recorded.jsonl, which is made from the schema without the generator.
    func testEveryRecordedFrameSurvives() throws {
        var recordings: [String: [JSONValue]] = [:]
        var decoded = 0
        var refused = 0
        for line in try Repository.lines("testdata/mutations/recorded.jsonl") {
            let expectation: Recorded = try line.decode()
            let place = expectation.id.split(separator: ":")
            let name = String(place[0])
            let number = try XCTUnwrap(Int(place[1]))
            if recordings[name] == nil {
                recordings[name] = try Repository.lines("testdata/frames/\(name)")
            }
            let value = try XCTUnwrap(recordings[name]?[number - 1].at(expectation.at), "\(expectation)")
            let result = Result { try roundTrip(value, as: expectation.def) }
            switch (expectation.expect, result) {
            case ("decode", .success(let back)):
                let dropped = (expectation.dropped ?? []).reduce(value) { $0.removing($1) }
                XCTAssertEqual(back, dropped, "\(expectation.id)\(expectation.at) as \(expectation.def)")
                decoded += 1
            case ("refuse", .failure):
                refused += 1
            default:
                XCTFail("\(expectation.id)\(expectation.at) as \(expectation.def): expected \(expectation.expect), got \(result)")
            }
        }
        XCTAssertGreaterThan(decoded, 1000)
        XCTAssertGreaterThan(refused, 0)
    }

    /// The way a client goes: bytes, frame, event or result by its type, and back to bytes.
    func testFramesByTheirTypes() throws {
        var events: [String: Int] = [:]
        var unknown = 0
        var responses = 0
        for file in try Repository.files("testdata/frames", suffix: ".jsonl") {
            for line in try Repository.lines(file) {
                guard line["dir"] == "s2c", let message = line["frame"] else { continue }
                let frame = try GatewayFrame(parsing: message.data())
                switch frame {
                case .event(let event):
                    switch try event.decoded() {
                    case .unknown(let name, let payload):
                        XCTAssertEqual(payload, event.payload, name)
                        unknown += 1
                    case let known:
                        XCTAssertEqual(known.name, event.event)
                        events[known.name, default: 0] += 1
                    }
                case .response(let response):
                    XCTAssertEqual(response.ok, response.error == nil)
                    responses += 1
                case .request, .unknown:
                    XCTFail("\(file): the server sent \(frame)")
                }
                XCTAssertEqual(try JSONValue(parsing: frame.data()), message)
            }
        }
        XCTAssertGreaterThan(events["agent", default: 0], 50)
        XCTAssertGreaterThan(events["chat", default: 0], 20)
        XCTAssertGreaterThan(responses, 200)
        XCTAssertGreaterThan(unknown, 0)
    }

    private struct Recorded: Decodable {
        let id, at, def, expect: String
        let dropped: [String]?
    }
}
