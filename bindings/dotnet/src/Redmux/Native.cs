[assembly: DisableRuntimeMarshalling]

namespace Redmux;

/// <summary>The library's functions that are called here, as include/redmux.h declares them; a test holds them against it. A handle is a struct of one
/// 64-bit number there, which is passed like the number. Nothing here is called by a thread of the library.</summary>
internal static unsafe partial class Native
{
    internal const string Library = "redmux";
    internal const uint AbiVersion = 1;

    internal const ushort Message = 1, Active = 2, Lost = 3, Dropped = 4, Done = 5, Published = 6, Promise = 7, Refused = 8;
    internal const ushort Request = 9, Cancel = 10, Answer = 12, End = 13, Question = 16, Log = 17, State = 18, Closed = 19;

    /// <summary>Flag: of a message, a pattern matched; of active, it is about one name; of an answer, its responder's last. Failed: of an answer, an error.</summary>
    internal const ushort Flag = 1, Failed = 2;

    internal const int Ok = 0, ErrClosed = -200, ErrBusy = -202, ErrCancelled = -205, ErrConnect = -300;
    internal const int ErrNoResponders = -309, ErrRemote = -310, ErrFull = -500, ErrOverflow = -502, ErrTimeout = -600;

    [LibraryImport(Library)] internal static partial uint redmux_abi_version();
    [LibraryImport(Library)] internal static partial void redmux_block_release(RawBlock* block);
    [LibraryImport(Library)] internal static partial int redmux_client_authenticate(ulong client, byte* user, byte* password, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_client_barrier(ulong client, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_client_close(ulong client, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_client_close_begin(ulong client, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_client_fd(ulong client, int* fd);
    [LibraryImport(Library)] internal static partial int redmux_client_flush(ulong client, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_client_open_with(ulong options, int events, void* callback, void* user, void* drop, ulong* client, ulong* inbox, void** error);
    [LibraryImport(Library)] internal static partial int redmux_client_post(ulong client, byte* channel, nuint channelLength, byte* data, nuint dataLength);
    [LibraryImport(Library)] internal static partial int redmux_client_publish(ulong client, byte* channel, nuint channelLength, byte* data, nuint dataLength, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_client_ready(ulong client, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_client_restart(ulong client);
    [LibraryImport(Library)] internal static partial int redmux_client_stats(ulong client, void** text);
    [LibraryImport(Library)] internal static partial int redmux_client_stop(ulong client);
    [LibraryImport(Library)] internal static partial int redmux_client_wait(ulong client, long timeout, ulong* inboxes, nuint capacity, nuint* count);
    [LibraryImport(Library)] internal static partial long redmux_debug_live();
    [LibraryImport(Library)] internal static partial void redmux_error_free(void* error);
    [LibraryImport(Library)] internal static partial byte* redmux_error_message(void* error);
    [LibraryImport(Library)] internal static partial int redmux_gather_open(ulong client, ulong inbox, byte* service, nuint serviceLength, byte* body, nuint bodyLength, byte* headers, nuint headersLength, ulong options, ulong token, long timeout, ulong* gather, void** error);
    [LibraryImport(Library)] internal static partial int redmux_gather_stop(ulong client, ulong gather, ulong reason);
    [LibraryImport(Library)] internal static partial int redmux_inbox_cancel(ulong inbox, ulong token);
    [LibraryImport(Library)] internal static partial int redmux_inbox_close(ulong inbox, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_inbox_new(ulong client, ulong options, ulong* inbox, void** error);
    [LibraryImport(Library)] internal static partial int redmux_inbox_stats(ulong inbox, void** text);
    [LibraryImport(Library)] internal static partial int redmux_inbox_take(ulong inbox, long timeout, RawBlock* block);
    [LibraryImport(Library)] internal static partial nuint redmux_list_count(void* list);
    [LibraryImport(Library)] internal static partial void redmux_list_free(void* list);
    [LibraryImport(Library)] internal static partial RawBytes redmux_list_item(void* list, nuint index);
    [LibraryImport(Library)] internal static partial void redmux_options_free(ulong options);
    [LibraryImport(Library)] internal static partial int redmux_options_new(ulong* options);
    [LibraryImport(Library)] internal static partial int redmux_options_set(ulong options, byte* key, byte* value, void** error);
    [LibraryImport(Library)] internal static partial int redmux_promise_make(ulong client, byte* name, nuint length, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_promises_active(ulong promises, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_promises_clear(ulong promises, nuint* count);
    [LibraryImport(Library)] internal static partial int redmux_promises_close(ulong promises);
    [LibraryImport(Library)] internal static partial int redmux_promises_make(ulong promises, byte* suffix, nuint length, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_promises_make_later(ulong promises, byte* suffix, nuint length, ulong inbox, ulong token, long timeout, long wait);
    [LibraryImport(Library)] internal static partial int redmux_promises_new(ulong client, ulong inbox, byte* prefix, nuint length, ulong token, ulong* promises);
    [LibraryImport(Library)] internal static partial int redmux_question_answer(ulong client, ulong question, int status, RawBytes* values, nuint count);
    [LibraryImport(Library)] internal static partial int redmux_responder_active(ulong responder, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_responder_answer(ulong responder, ulong request, byte* body, nuint bodyLength, byte* headers, nuint headersLength, int last);
    [LibraryImport(Library)] internal static partial int redmux_responder_close(ulong responder);
    [LibraryImport(Library)] internal static partial int redmux_responder_drain(ulong responder, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_responder_end(ulong responder, ulong request);
    [LibraryImport(Library)] internal static partial int redmux_responder_fail(ulong responder, ulong request, byte* code, nuint codeLength, byte* message, nuint messageLength, int retriable);
    [LibraryImport(Library)] internal static partial int redmux_responder_open(ulong client, ulong inbox, byte* service, nuint length, ulong options, ulong token, ulong* responder, void** error);
    [LibraryImport(Library)] internal static partial byte* redmux_status_message(int status);
    [LibraryImport(Library)] internal static partial byte* redmux_status_name(int status);
    [LibraryImport(Library)] internal static partial int redmux_subscription_active(ulong subscription, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_subscription_add(ulong subscription, RawBytes* names, nuint count, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_subscription_clear(ulong subscription, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_subscription_close(ulong subscription);
    [LibraryImport(Library)] internal static partial int redmux_subscription_drain(ulong subscription, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial int redmux_subscription_names(ulong subscription, void** list);
    [LibraryImport(Library)] internal static partial int redmux_subscription_new(ulong client, ulong inbox, ulong token, ulong* subscription);
    [LibraryImport(Library)] internal static partial int redmux_subscription_new_pattern(ulong client, ulong inbox, byte* pattern, nuint length, ulong token, ulong doneInbox, ulong doneToken, long timeout, ulong* subscription);
    [LibraryImport(Library)] internal static partial int redmux_subscription_remove(ulong subscription, RawBytes* names, nuint count, ulong inbox, ulong token, long timeout);
    [LibraryImport(Library)] internal static partial RawBytes redmux_text_bytes(void* text);
    [LibraryImport(Library)] internal static partial void redmux_text_free(void* text);

    // What the reader and the lane need of the system.
    [LibraryImport("libc", SetLastError = true)] internal static partial int dup(int descriptor);
    [LibraryImport("libc", SetLastError = true)] internal static partial int fcntl(int descriptor, int command, int argument);
    [LibraryImport("libc", SetLastError = true)] internal static partial int close(int descriptor);
    [LibraryImport("libc", SetLastError = true)] internal static partial int poll(PollFd* descriptors, nuint count, int timeout);
    [LibraryImport("libc")] internal static partial int eventfd(uint count, int flags);
    [LibraryImport("libc")] internal static partial nint read(int descriptor, void* bytes, nuint count);
    [LibraryImport("libc")] internal static partial nint write(int descriptor, void* bytes, nuint count);
}

/// <summary>redmux_record: 64 bytes, as docs/records.md fixes them.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct RawRecord
{
    internal ushort Kind, Flags;
    internal int Status;
    internal ulong Source, Token, Number, Aux;
    internal uint NameOff, NameLen, ExtraOff, ExtraLen, DataOff, DataLen;

    internal readonly ReadOnlySpan<byte> Name(ReadOnlySpan<byte> data) => data.Slice((int)NameOff, (int)NameLen);

    internal readonly ReadOnlySpan<byte> Extra(ReadOnlySpan<byte> data) => data.Slice((int)ExtraOff, (int)ExtraLen);

    internal readonly ReadOnlySpan<byte> Data(ReadOnlySpan<byte> data) => data.Slice((int)DataOff, (int)DataLen);
}

/// <summary>redmux_block: 56 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RawBlock
{
    internal ulong Id, Inbox;
    internal RawRecord* Records;
    internal nuint Count;
    internal byte* Data;
    internal nuint DataLen;
    internal uint More;
    internal int Status;

    internal readonly ReadOnlySpan<RawRecord> AllRecords => new(Records, (int)Count);

    internal readonly ReadOnlySpan<byte> AllData => new(Data, (int)DataLen);
}

/// <summary>redmux_bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RawBytes
{
    internal byte* Data;
    internal nuint Len;

    internal readonly ReadOnlySpan<byte> Span => new(Data, (int)Len);
}

/// <summary>struct pollfd.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PollFd
{
    internal const short In = 1;
    internal int Descriptor;
    internal short Events, Returned;
}
