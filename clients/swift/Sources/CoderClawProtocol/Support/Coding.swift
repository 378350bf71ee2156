/// What the generated types need beyond the standard library to read and write exactly
/// what the schema says.
extension KeyedDecodingContainer {
    /// Decodes a member that may be absent; a null counts as a value.
    func decodePresent<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T? {
        contains(key) ? try decode(type, forKey: key) : nil
    }

    /// Checks a member whose value the schema fixes.
    func decodeConstant<T: Decodable & Equatable>(_ constant: T, forKey key: Key) throws {
        let found = try decode(T.self, forKey: key)
        guard found == constant else {
            throw DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: "expected the constant \(constant), found \(found)")
        }
    }

    /// Checks a member whose value the schema fixes, if it is there, and returns it.
    func decodeConstantIfPresent<T: Decodable & Equatable>(_ constant: T, forKey key: Key) throws -> T? {
        guard contains(key) else { return nil }
        try decodeConstant(constant, forKey: key)
        return constant
    }
}

extension KeyedDecodingContainer<AnyKey> {
    /// Reports whether an object has these members, and no others where known is given.
    func fits(required: Set<String>, known: Set<String>? = nil) -> Bool {
        let names = Set(allKeys.map(\.stringValue))
        return names.isSuperset(of: required) && (known.map(names.isSubset) ?? true)
    }
}

extension DecodingError {
    /// The fault of a union whose value is none of its variants.
    static func noVariant(_ type: Any.Type, _ decoder: any Decoder) -> DecodingError {
        .typeMismatch(type, .init(codingPath: decoder.codingPath, debugDescription: "fits no variant of \(type)"))
    }
}
