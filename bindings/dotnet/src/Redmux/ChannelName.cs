namespace Redmux;

/// <summary>Names of channels as text and as bytes. Redis allows any byte in a name; redmux shows it as UTF-8, and a byte that is not
/// UTF-8 as one character from U+DC80 to U+DCFF, so that every name survives the way there and back.</summary>
/// <example><code>
/// string odd = ChannelName.FromBytes([0xff, 0x00]);
/// byte[] same = ChannelName.ToBytes(odd);
/// </code></example>
public static class ChannelName
{
    /// <summary>The name that these bytes are.</summary>
    /// <param name="bytes">Any bytes.</param>
    public static string FromBytes(ReadOnlySpan<byte> bytes)
    {
        char[]? rented = bytes.Length > 256 ? ArrayPool<char>.Shared.Rent(bytes.Length) : null;
        Span<char> text = rented ?? stackalloc char[256];
        int length = 0;
        while (bytes.Length > 0)
        {
            OperationStatus status = Utf8.ToUtf16(bytes, text[length..], out int read, out int written, replaceInvalidSequences: false);
            length += written;
            bytes = bytes[read..];
            if (status != OperationStatus.Done && bytes.Length > 0)
            {
                text[length++] = (char)(0xDC00 | bytes[0]);
                bytes = bytes[1..];
            }
        }
        string name = new(text[..length]);
        if (rented is not null)
        {
            ArrayPool<char>.Shared.Return(rented);
        }
        return name;
    }

    /// <summary>The bytes of a name.</summary>
    /// <param name="name">A name.</param>
    /// <exception cref="ArgumentException">It has half a surrogate pair.</exception>
    public static byte[] ToBytes(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        byte[] bytes = new byte[Room(name)];
        return bytes.AsSpan(0, Encode(name, bytes)).ToArray();
    }

    /// <summary>How many bytes a name needs at most.</summary>
    internal static int Room(string name) => name.Length * 3;

    internal static int Encode(string name, Span<byte> bytes)
    {
        ReadOnlySpan<char> text = name;
        int length = 0;
        while (text.Length > 0)
        {
            OperationStatus status = Utf8.FromUtf16(text, bytes[length..], out int read, out int written, replaceInvalidSequences: false);
            length += written;
            text = text[read..];
            if (status != OperationStatus.Done && text.Length > 0)
            {
                if (text[0] is < '\uDC80' or > '\uDCFF')
                {
                    throw new ArgumentException("a name has half a surrogate pair, which no bytes stand for", nameof(name));
                }
                bytes[length++] = (byte)text[0];
                text = text[1..];
            }
        }
        return length;
    }

    /// <summary>A C string.</summary>
    internal static byte[] Terminated(string text) => Encoding.UTF8.GetBytes(text + '\0');
}

/// <summary>Strings of names by their number, so that one is made once a name and not once a message. Many readers, no lock.</summary>
internal sealed class NameCache
{
    private const int Most = 1 << 17;
    private Entry?[] _entries = new Entry?[64];

    private sealed record Entry(ulong Number, string Name);

    internal string Of(ulong number, ReadOnlySpan<byte> name)
    {
        Entry?[] entries = Volatile.Read(ref _entries);
        ref Entry? place = ref entries[number & (ulong)(entries.Length - 1)];
        Entry? entry = place;
        return entry is not null && entry.Number == number ? entry.Name : Add(number, name);
    }

    private string Add(ulong number, ReadOnlySpan<byte> name)
    {
        Entry made = new(number, ChannelName.FromBytes(name));
        if (number == 0)
        {
            return made.Name; // a pattern's message: its name has no number
        }
        lock (this)
        {
            while (_entries[number & (ulong)(_entries.Length - 1)] is not null && _entries.Length < Most)
            {
                var larger = new Entry?[_entries.Length * 2];
                foreach (Entry? entry in _entries)
                {
                    if (entry is not null)
                    {
                        larger[entry.Number & (ulong)(larger.Length - 1)] = entry;
                    }
                }
                Volatile.Write(ref _entries, larger);
            }
            _entries[number & (ulong)(_entries.Length - 1)] = made;
        }
        return made.Name;
    }
}
