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
        Span<char> text = bytes.Length <= 256 ? stackalloc char[256] : new char[bytes.Length];
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
        return new(text[..length]);
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

/// <summary>Strings of names by their number, so that one is made once a name and not once a message.</summary>
internal sealed class NameCache
{
    private const int Most = 1 << 17;
    private readonly ConcurrentDictionary<ulong, string> _names = new();

    internal string Of(ulong number, ReadOnlySpan<byte> name) => _names.TryGetValue(number, out string? known) ? known : Add(number, name);

    private string Add(ulong number, ReadOnlySpan<byte> name)
    {
        string made = ChannelName.FromBytes(name);
        // A pattern's message: its name has no number.
        if (number == 0) { return made; }
        // Names come and go, and numbers are not used again.
        if (_names.Count >= Most) { _names.Clear(); }
        return _names[number] = made;
    }
}
