/* What the C identity programs have in common: everything but the name resolution. */
static void first_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "r");
    line[0] = 0;
    if (!file || !fgets(line, size, file)) {
        perror(path);
        exit(1);
    }
    line[strcspn(line, "\n")] = 0;
    fclose(file);
}

static void ask(const char *host, struct in_addr address)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = address};
    char request[512], answer[65536];
    size_t have = 0;
    ssize_t got;
    int sock = socket(AF_INET, SOCK_STREAM, 0);

    if (sock < 0 || connect(sock, (struct sockaddr *)&peer, sizeof peer)) {
        perror("connect");
        exit(1);
    }
    snprintf(request, sizeof request, "GET /bytes?n=16 HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
    if (write(sock, request, strlen(request)) < 0)
        perror("write");
    while ((got = read(sock, answer + have, sizeof answer - 1 - have)) > 0)
        have += got;
    answer[have] = 0;
    char *body = strstr(answer, "\r\n\r\n");
    if (!body) {
        fprintf(stderr, "no answer\n");
        exit(1);
    }
    printf("answer=");
    for (body += 4; body < answer + have; body++)
        printf("%02x", (unsigned char)*body);
    printf("\n");
    close(sock);
}

static int report(const char *host, struct in_addr address)
{
    char name[256], line[4096], text[INET_ADDRSTRLEN];
    const char *greeting = getenv("GREETING");

    gethostname(name, sizeof name);
    first_line("/app/config.yaml", line, sizeof line);
    inet_ntop(AF_INET, &address, text, sizeof text);
    printf("greeting=%s\nhostname=%s\nconfig=%s\necho=%s\n", greeting ? greeting : "", name, line, text);
    ask(host, address);
    return 0;
}
