import CoderClawProtocol
import Foundation
import XCTest

/// The files of the repository that tests read.
enum Repository {
    /// The root: CODERCLAW_ROOT where it is set, else found from where this file was compiled.
    static let root: URL = {
        if let path = ProcessInfo.processInfo.environment["CODERCLAW_ROOT"] {
            return URL(fileURLWithPath: path)
        }
        return (0..<5).reduce(URL(fileURLWithPath: #filePath)) { url, _ in url.deletingLastPathComponent() }
    }()

    static func data(_ path: String) throws -> Data {
        try Data(contentsOf: root.appendingPathComponent(path))
    }

    /// The lines of a file, each one JSON.
    static func lines(_ path: String) throws -> [JSONValue] {
        try data(path).split(separator: UInt8(ascii: "\n")).map { try JSONValue(parsing: Data($0)) }
    }

    /// The files of a folder whose names end so, sorted.
    static func files(_ folder: String, suffix: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent(folder).path)
            .filter { $0.hasSuffix(suffix) }.sorted().map { folder + "/" + $0 }
    }
}

/// Decodes a value as a definition of the schema and encodes it again.
func roundTrip(_ value: JSONValue, as definition: String) throws -> JSONValue {
    func through<T: Codable>(_ type: T.Type) throws -> JSONValue {
        try JSONValue(encoding: value.decode(as: type))
    }
    let type = try XCTUnwrap(definitions[definition], "no definition \(definition)")
    return try through(type)
}

extension JSONValue {
    /// The value at a JSON pointer (RFC 6901).
    func at(_ pointer: String) -> JSONValue? {
        Self.tokens(pointer).reduce(self as JSONValue?) { value, token in
            value.flatMap { inner in
                if case .array = inner { return Int(token).flatMap { inner[$0] } }
                return inner[token]
            }
        }
    }

    /// This value without what is at a JSON pointer.
    func removing(_ pointer: String) -> JSONValue { removing(Self.tokens(pointer)[...]) }

    private func removing(_ tokens: ArraySlice<String>) -> JSONValue {
        guard let token = tokens.first else { return self }
        switch self {
        case .object(var members):
            members[token] = tokens.count == 1 ? nil : members[token]?.removing(tokens.dropFirst())
            return .object(members)
        case .array(var items):
            if let index = Int(token), items.indices.contains(index) {
                items[index] = items[index].removing(tokens.dropFirst())
            }
            return .array(items)
        default:
            return self
        }
    }

    private static func tokens(_ pointer: String) -> [String] {
        pointer.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map {
            $0.replacingOccurrences(of: "~1", with: "/").replacingOccurrences(of: "~0", with: "~")
        }
    }
}
