import CoderClawProtocol
import Foundation
import XCTest

/// Messages of a newer or a faulty gateway, made from recorded ones: the same thousands
/// of cases judge the Go and the TypeScript client.
final class MutationTests: XCTestCase {
    func testEveryMutation() throws {
        var counts: [String: Int] = [:]
        for line in try Repository.lines("testdata/mutations/mutations.jsonl") {
            let mutation: Mutation = try line.decode()
            let value = try JSONValue(parsing: Data(mutation.frame.utf8))
            let result = Result { try roundTrip(value, as: mutation.def) }
            switch (mutation.expect, result) {
            case ("decode", .success(let back)):
                let same = try JSONValue(parsing: Data(XCTUnwrap(mutation.same).utf8))
                XCTAssertEqual(back, same, mutation.id)
            case ("refuse", .failure(let error)):
                XCTAssert(error is DecodingError, "\(mutation.id): \(error)")
            default:
                XCTFail("\(mutation.id) as \(mutation.def): expected \(mutation.expect), got \(result)\n\(mutation.frame)")
            }
            counts["\(mutation.kind) \(mutation.expect)", default: 0] += 1
        }
        for (kind, expect) in Self.kinds {
            XCTAssertGreaterThan(counts["\(kind) \(expect)", default: 0], 0, "no \(kind) to \(expect)")
        }
        XCTAssertGreaterThan(counts.values.reduce(0, +), 2000)
    }

    private static let kinds = [
        ("added-member", "decode"), ("unknown-enum", "decode"), ("dropped-optional", "decode"), ("null-for-optional", "decode"),
        ("null-for-optional", "refuse"), ("missing-required", "refuse"), ("wider-number", "decode"), ("wider-number", "refuse"),
        ("wrong-type", "refuse"),
    ]

    private struct Mutation: Decodable {
        let id, def, kind, frame, expect: String
        let same: String?
    }
}
