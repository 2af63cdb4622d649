/// A message of the vici protocol: named values, lists and sections in the order in which they were sent.
///
/// Order carries meaning (the rounds of authentication, the tunnels of a connection), and a name may occur
/// twice.
public struct ViciMessage: Equatable, Sendable {
    /// What stands under a name.
    public indirect enum Value: Equatable, Sendable {
        /// A message within the message.
        case section(ViciMessage)
        /// Octets; text by convention.
        case value([UInt8])
        /// Several values, each of octets.
        case list([[UInt8]])
    }

    /// A name and what stands under it.
    public struct Element: Equatable, Sendable {
        /// The name: 1 to 255 printable ASCII characters when written.
        public var name: String
        /// What stands under the name.
        public var value: Value

        /// Makes an element.
        public init(name: String, value: Value) {
            self.name = name
            self.value = value
        }
    }

    /// The elements in the order of the wire.
    public var elements: [Element]

    /// Makes a message of `elements`.
    public init(_ elements: [Element] = []) {
        self.elements = elements
    }

    /// Makes a message and lets `build` fill it.
    public init(_ build: (inout ViciMessage) -> Void) {
        self.init()
        build(&self)
    }
}

// MARK: - Building

extension ViciMessage {
    /// Appends text under `name`.
    public mutating func set(_ name: String, _ text: String) {
        set(name, octets: Array(text.utf8))
    }

    /// Appends a number in decimal under `name`.
    public mutating func set(_ name: String, _ number: some BinaryInteger) {
        set(name, String(number))
    }

    /// Appends `yes` or `no` under `name`.
    public mutating func set(_ name: String, flag: Bool) {
        set(name, flag ? "yes" : "no")
    }

    /// Appends octets under `name`.
    public mutating func set(_ name: String, octets: [UInt8]) {
        elements.append(Element(name: name, value: .value(octets)))
    }

    /// Appends a list of texts under `name`.
    public mutating func list(_ name: String, _ texts: [String]) {
        list(name, octets: texts.map { Array($0.utf8) })
    }

    /// Appends a list of octet strings under `name`.
    public mutating func list(_ name: String, octets: [[UInt8]]) {
        elements.append(Element(name: name, value: .list(octets)))
    }

    /// Appends a section under `name`, which `build` fills.
    public mutating func section(_ name: String, _ build: (inout ViciMessage) -> Void) {
        section(name, ViciMessage(build))
    }

    /// Appends `message` as a section under `name`.
    public mutating func section(_ name: String, _ message: ViciMessage) {
        elements.append(Element(name: name, value: .section(message)))
    }

    /// The answer that a command was carried out.
    public static let success = ViciMessage { $0.set("success", flag: true) }

    /// The answer that a command was refused, with the reason for the user.
    public static func failure(_ reason: String) -> ViciMessage {
        ViciMessage {
            $0.set("success", flag: false)
            $0.set("errmsg", reason)
        }
    }
}

// MARK: - Reading

extension ViciMessage {
    /// What stands first under `name`.
    public subscript(_ name: String) -> Value? {
        elements.first { $0.name == name }?.value
    }

    /// The octets under `name`, or nil if there are none or `name` is a list or section.
    public func octets(_ name: String) -> [UInt8]? {
        guard case .value(let octets)? = self[name] else { return nil }
        return octets
    }

    /// The text under `name`, or nil if there is none or its octets are no UTF-8.
    public func string(_ name: String) -> String? {
        octets(name).flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// The decimal number under `name`, or nil if there is none or it is no number of the type.
    public func number<Number: FixedWidthInteger>(_ name: String, as type: Number.Type = Number.self)
        -> Number?
    {
        string(name).flatMap { Number($0) }
    }

    /// The truth value under `name`, in strongSwan's spellings, or nil.
    public func flag(_ name: String) -> Bool? {
        switch string(name)?.lowercased() {
        case "yes", "true", "enabled", "1": true
        case "no", "false", "disabled", "0": false
        default: nil
        }
    }

    /// The section under `name`, or nil.
    public func section(_ name: String) -> ViciMessage? {
        guard case .section(let message)? = self[name] else { return nil }
        return message
    }

    /// All sections with their names, in order.
    public var sections: [(name: String, message: ViciMessage)] {
        elements.compactMap { element in
            guard case .section(let message) = element.value else { return nil }
            return (element.name, message)
        }
    }

    /// The octet strings of the list under `name`, or nil if there is no list.
    public func items(_ name: String) -> [[UInt8]]? {
        guard case .list(let items)? = self[name] else { return nil }
        return items
    }

    /// The texts of the list under `name`; empty if there is no list, nil if an item is no UTF-8.
    public func strings(_ name: String) -> [String]? {
        var texts = [String]()
        for item in items(name) ?? [] {
            guard let text = String(validating: item, as: UTF8.self) else { return nil }
            texts.append(text)
        }
        return texts
    }
}
