# Per client address of a combined log: requests, bytes, distinct URLs, first and last time. The log's times
# ascend, so the first line of an address has its first time.
{
    address = $1
    time = substr($4, 2) " " substr($5, 1, length($5) - 1)
    if (!(address in requests)) first[address] = time
    last[address] = time
    requests[address]++
    if ($10 != "-") bytes[address] += $10
    if (!((address, $7) in seen)) {
        seen[address, $7]
        urls[address]++
    }
}
END {
    for (address in requests)
        printf "%s\t%d\t%.0f\t%d\t%s\t%s\n", address, requests[address], bytes[address], \
            urls[address], first[address], last[address]
}
