import CoderClawProtocol
import Foundation
import XCTest

/// The examples of the schema are what people copy: each of them has to come through its
/// type unchanged, or the type lacks a member or calls it otherwise.
final class ExampleTests: XCTestCase {
    func testEveryExampleSurvives() throws {
        var examples = 0
        for file in try Repository.files("schema", suffix: ".json") {
            guard case .object(let schemas)? = try JSONValue(parsing: Repository.data(file))["$defs"] else { continue }
            for (name, schema) in schemas {
                guard case .array(let list)? = schema["examples"] else { continue }
                for example in list {
                    XCTAssertEqual(try roundTrip(example, as: name), example, name)
                    examples += 1
                }
            }
        }
        XCTAssertGreaterThan(examples, 60)
    }

    /// Foundation's coders read and write the same.
    func testExamplesWithFoundation() throws {
        for file in try Repository.files("schema", suffix: ".json") {
            guard case .object(let schemas)? = try JSONValue(parsing: Repository.data(file))["$defs"] else { continue }
            for (name, schema) in schemas {
                guard case .array(let list)? = schema["examples"] else { continue }
                for example in list {
                    func through<T: Codable>(_ type: T.Type) throws -> Data {
                        try JSONEncoder().encode(JSONDecoder().decode(type, from: example.data()))
                    }
                    let type = try XCTUnwrap(definitions[name], "no definition \(name)")
                    XCTAssertEqual(try JSONValue(parsing: through(type)), example, name)
                }
            }
        }
    }
}
