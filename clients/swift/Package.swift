// swift-tools-version: 6.0
// The package of the Swift client, for work on it. The manifest that url dependencies
// see is the one at the root of the repository; both name the same sources.
import PackageDescription

let package = Package(
    name: "coderclaw",
    platforms: [.macOS(.v12), .iOS(.v15), .tvOS(.v15), .watchOS(.v8), .visionOS(.v1)],
    products: [.library(name: "CoderClawProtocol", targets: ["CoderClawProtocol"])],
    targets: [
        .target(name: "CoderClawProtocol"),
        .testTarget(name: "CoderClawProtocolTests", dependencies: ["CoderClawProtocol"]),
    ],
    swiftLanguageModes: [.v6]
)
