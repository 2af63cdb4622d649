import Vici

/// Reading of `load-conn`: the sections of a connection in the order of the message, each key checked.
extension ConnectionOptions {
    /// Reads the one section of the message.
    init(parsing message: ViciMessage) throws(LoadRefusal) {
        guard case let element? = message.elements.first, message.elements.count == 1,
            case .section(let section) = element.value
        else { throw LoadRefusal("parsing request failed") }
        try Self.check(name: element.name)
        self.init(name: element.name)
        for element in section.elements {
            switch element.value {
            case .value(let value): try set(element.name, value).check(element.name)
            case .list(let items):
                try Self.check(count: items.count, element.name)
                for item in items { try append(element.name, item).check(element.name) }
            case .section(let section): try read(section, element.name)
            }
        }
        localRounds = Self.ordered(localRounds)
        remoteRounds = Self.ordered(remoteRounds)
        try checkMediation()
    }

    private mutating func read(_ section: ViciMessage, _ name: String) throws(LoadRefusal) {
        let folded = name.lowercased()
        if folded == "children" {
            try readChildren(section)
        } else if folded.hasPrefix("local") {
            localRounds.append(try AuthenticationOptions(parsing: section, name: name))
            try Self.check(rounds: localRounds.count)
        } else if folded.hasPrefix("remote") {
            remoteRounds.append(try AuthenticationOptions(parsing: section, name: name))
            try Self.check(rounds: remoteRounds.count)
        } else {
            throw LoadRefusal("invalid section: \(name)")
        }
    }

    private mutating func readChildren(_ message: ViciMessage) throws(LoadRefusal) {
        for element in message.elements {
            guard case .section(let section) = element.value else { throw .unknownOption(element.name) }
            try Self.check(name: element.name)
            guard !children.contains(where: { $0.name == element.name }) else {
                throw LoadRefusal("children.\(element.name) is there twice, config discarded")
            }
            guard children.count < LoadLimits.children else {
                throw .limit(LoadLimits.children, "children of a connection")
            }
            var child = ChildOptions(name: element.name)
            for element in section.elements {
                switch element.value {
                case .value(let value): try child.set(element.name, value).check(element.name)
                case .list(let items):
                    try Self.check(count: items.count, element.name)
                    for item in items { try child.append(element.name, item).check(element.name) }
                case .section: throw LoadRefusal("invalid section: \(element.name)")
                }
            }
            children.append(child)
        }
    }

    /// By `round`, and in the order of the message where that is equal.
    private static func ordered(_ rounds: [AuthenticationOptions]) -> [AuthenticationOptions] {
        rounds.enumerated().sorted { left, right in
            (left.element.round ?? 0, left.offset) < (right.element.round ?? 0, right.offset)
        }.map { $0.element }
    }

    private func checkMediation() throws(LoadRefusal) {
        guard mediation == true, mediatedBy != nil else { return }
        throw LoadRefusal("a mediation connection cannot be a mediated connection at the same time")
    }

    /// Names stand in logs, lists and routes: printable ASCII without blanks at the ends.
    static func check(name: String) throws(LoadRefusal) {
        guard !name.isEmpty, name.utf8.count <= LoadLimits.nameOctets,
            name.utf8.allSatisfy({ (0x20...0x7e).contains($0) }), name.first != " ", name.last != " "
        else { throw LoadRefusal("invalid section name") }
    }

    private static func check(count: Int, _ key: String) throws(LoadRefusal) {
        guard count <= LoadLimits.listItems else { throw .limit(LoadLimits.listItems, "items of \(key)") }
    }

    private static func check(rounds: Int) throws(LoadRefusal) {
        guard rounds <= LoadLimits.rounds else { throw .limit(LoadLimits.rounds, "authentication rounds") }
    }
}

extension AuthenticationOptions {
    /// Reads a section `local…` or `remote…`.
    init(parsing section: ViciMessage, name: String) throws(LoadRefusal) {
        self.init(name: name)
        for element in section.elements {
            switch element.value {
            case .value(let value): try set(element.name, value).check(element.name)
            case .list(let items):
                guard items.count <= LoadLimits.listItems else {
                    throw .limit(LoadLimits.listItems, "items of \(element.name)")
                }
                for item in items { try append(element.name, item).check(element.name) }
            case .section(let section):
                try readCertificate(section, element.name)
            }
        }
    }

    /// A certificate on a token or in a file of the daemon's.
    private mutating func readCertificate(_ section: ViciMessage, _ name: String) throws(LoadRefusal) {
        let folded = name.lowercased()
        guard folded.hasPrefix("cert") || folded.hasPrefix("cacert") else {
            throw LoadRefusal("invalid section: \(name)")
        }
        guard tokenSections.count < LoadLimits.listItems else {
            throw .limit(LoadLimits.listItems, "certificate sections")
        }
        for element in section.elements {
            guard case .value(let value) = element.value else { throw .unknownOption(element.name) }
            let outcome: OptionOutcome =
                switch element.name {
                case "handle", "module", "file": OptionText.printable(value) == nil ? .invalid : .accepted
                case "slot": OptionText.number(value, as: UInt32.self) == nil ? .invalid : .accepted
                default: .unknown
                }
            try outcome.check(element.name)
        }
        switch (section.octets("handle"), section.octets("file")) {
        case (nil, nil): throw LoadRefusal("handle or file path missing: \(name)")
        case (_?, _?): throw LoadRefusal("handle and file path given: \(name)")
        default: tokenSections.append(name)
        }
    }
}
