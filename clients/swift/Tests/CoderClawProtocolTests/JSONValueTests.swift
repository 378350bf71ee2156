import CoderClawProtocol
import Foundation
import XCTest

final class JSONValueTests: XCTestCase {
    func testParses() throws {
        let cases: [(String, JSONValue)] = [
            ("null", .null),
            (" true ", true),
            ("\t[ ]\r\n", []),
            ("{ }", [:]),
            ("0", 0),
            ("-0", 0),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9223372036854775807", .int(.max)),
            ("-9223372036854775808", .int(.min)),
            ("9223372036854775808", .double(9223372036854775808)),
            ("18446744073709551616", .double(18446744073709551616)),
            ("1.0", 1),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("1e3", 1000),
            ("1.5e-3", .double(0.0015)),
            ("0.30000000000000004", .double(0.30000000000000004)),
            (#""""#, ""),
            (#""a\"\\\/\b\f\n\r\t""#, .string("a\"\\/\u{8}\u{c}\n\r\t")),
            (#""\u00e9\u20AC\ud83d\ude00""#, "é€😀"),
            (#""é€😀""#, "é€😀"),
            (#""\ud83d!""#, "\u{FFFD}!"),
            (#""\ude00\ud83d\u0041""#, "\u{FFFD}\u{FFFD}A"),
            (#"{"a":{"b":[1,null,{"c":false}]},"d":""}"#, ["a": ["b": [1, nil, ["c": false]]], "d": ""]),
        ]
        for (text, value) in cases {
            XCTAssertEqual(try JSONValue(parsing: Data(text.utf8)), value, text)
        }
    }

    func testRefuses() {
        let cases = [
            "", " ", "nul", "nulll", "tru", "True", "[", "[1", "[1,", "[1,]", "[1 2]", "{", #"{"a""#, #"{"a":"#, #"{"a":1,}"#, "{a:1}",
            #"{"a":1,"a":2}"#, #"{"a" 1}"#, "01", "-", "+1", ".5", "1.", "1e", "1e+", "1e999", "--1", "0x1", "NaN", "1 2", #"""#, #""\x""#,
            #""\u12"#, #""\u12g4""#, "\"\u{1}\"", "\"\n\"", "[1]]", "\u{FEFF}1",
        ]
        for text in cases {
            XCTAssertThrowsError(try JSONValue(parsing: Data(text.utf8)), text) { XCTAssert($0 is DecodingError) }
        }
        for bytes in [[0x22, 0xFF, 0x22], [0x22, 0xC3, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22], [0x22, 0xC0, 0x80, 0x5C, 0x6E, 0x22]] as [[UInt8]] {
            XCTAssertThrowsError(try JSONValue(parsing: Data(bytes)), "\(bytes)")
        }
    }

    func testRefusesDeepNesting() {
        XCTAssertNoThrow(try JSONValue(parsing: Data((String(repeating: "[", count: 512) + String(repeating: "]", count: 512)).utf8)))
        XCTAssertThrowsError(try JSONValue(parsing: Data((String(repeating: "[", count: 513) + String(repeating: "]", count: 513)).utf8)))
        XCTAssertThrowsError(try JSONValue(parsing: Data(String(repeating: "[", count: 1_000_000).utf8)))
    }

    /// The deepest text that is accepted goes through on the small stack of a worker thread.
    func testDeepNestingFitsASmallStack() throws {
        let deepest = Data((String(repeating: #"{"a":["#, count: 256) + String(repeating: "]}", count: 256)).utf8)
        let done = expectation(description: "parsed")
        let thread = Thread {
            let value = try? JSONValue(parsing: deepest)
            let back = try? value?.data()
            XCTAssertEqual(back, deepest)
            XCTAssertEqual(value, value?.removing("/a/0/b"))
            done.fulfill()
        }
        #if DEBUG
        thread.stackSize = 4 << 20
        #else
        thread.stackSize = 512 << 10
        #endif
        thread.start()
        wait(for: [done], timeout: 60)
    }

    /// Cut at any byte, a text is refused and nothing worse happens.
    func testEveryPrefixIsRefused() throws {
        let text = Data(#"{"a":[1,-2.5e3,"x\u00e9\ud83d\ude00é",true,null,{}]}"#.utf8)
        XCTAssertNoThrow(try JSONValue(parsing: text))
        for end in 0..<text.count {
            XCTAssertThrowsError(try JSONValue(parsing: text.prefix(end)), "\(end)")
        }
    }

    func testRoundTripKeepsEveryDigit() throws {
        let value: JSONValue = [
            "max": .int(.max), "min": .int(.min), "odd": 9_007_199_254_740_993, "third": .double(1.0 / 3),
            "tiny": .double(.leastNonzeroMagnitude), "huge": .double(1.5e300), "é": [],
            "s": "a/b\u{2028}\u{0}\u{1f}\u{7f}\"\\\n\r\té😀",
        ]
        XCTAssertEqual(try JSONValue(parsing: value.data()), value)
        XCTAssertEqual(try JSONValue(parsing: JSONEncoder().encode(value)), value)
        XCTAssertEqual(String(decoding: try (["b": 1, "a": "x/y"] as JSONValue).data(), as: UTF8.self), #"{"a":"x/y","b":1}"#)
        XCTAssertThrowsError(try JSONValue.double(.nan).data())
    }

    func testFoundationReadsAndWritesIt() throws {
        let value: JSONValue = ["a": [1, 2.5, nil, true, "x", ["n": 9_007_199_254_740_993]]]
        XCTAssertEqual(try JSONDecoder().decode(JSONValue.self, from: value.data()), value)
    }

    func testLooksInside() {
        let value: JSONValue = ["a": [1, 2.5, "x", true]]
        XCTAssertEqual(value["a"]?[0]?.intValue, 1)
        XCTAssertEqual(value["a"]?[1]?.doubleValue, 2.5)
        XCTAssertEqual(value["a"]?[0]?.doubleValue, 1)
        XCTAssertEqual(value["a"]?[2]?.stringValue, "x")
        XCTAssertEqual(value["a"]?[3]?.boolValue, true)
        XCTAssertNil(value["a"]?[4])
        XCTAssertNil(value["b"])
        XCTAssertNil(value[0])
        XCTAssertNil(value["a"]?[2]?.intValue)
    }

    /// The decoder serves types of other people too.
    func testDecodesOrdinaryTypes() throws {
        struct Other: Codable, Equatable {
            var small: UInt8
            var ratio: Float
            var counts: [String: Int]
            var grid: [[Double?]]
            var pair: Nested
            struct Nested: Codable, Equatable { var when: Date; var note: String? }
        }
        let pair = Other.Nested(when: Date(timeIntervalSinceReferenceDate: 5), note: nil)
        let other = Other(small: 200, ratio: 0.5, counts: ["a": -1], grid: [[1, nil], []], pair: pair)
        XCTAssertEqual(try JSONValue(encoding: other).decode(as: Other.self), other)
        XCTAssertThrowsError(try JSONValue.int(256).decode(as: UInt8.self))
        XCTAssertThrowsError(try JSONValue.double(1.5).decode(as: Int.self))
        XCTAssertThrowsError(try ([1] as JSONValue).decode(as: [String].self))
    }
}
