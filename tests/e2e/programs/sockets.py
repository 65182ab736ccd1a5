"""What a program sees of its sockets, one line a case: numbers, bytes, errors. Run twice, the lines are the same. A
`traceparent` that arrived is left out. Arguments: cases, or none for all."""
import socket, ctypes, os, sys, fcntl, termios, struct, time, signal, threading, select, errno, re, mmap
L=ctypes.CDLL(None,use_errno=True)
def lrecv(s,n=4096,fl=0):
    b=ctypes.create_string_buffer(n); r=L.recv(s.fileno(),b,n,fl); e=ctypes.get_errno()
    return bytes(b.raw[:r]) if r>=0 else errno.errorcode[e]
def lsend(s,d,fl=0):
    r=L.send(s.fileno(),d,len(d),fl|socket.MSG_NOSIGNAL); e=ctypes.get_errno()
    return r if r>=0 else errno.errorcode[e]
def q(s,req=termios.FIONREAD): return struct.unpack('i',fcntl.ioctl(s,req,b'\0'*4))[0]
OUTQ=termios.TIOCOUTQ
LINES=[0]
def strip(b):
    b2,n=re.subn(rb'traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-9]\r\n',b'',b); LINES[0]+=n; return b2
def pair(fam=socket.AF_INET,pre=None):
    l=socket.socket(fam); l.bind(('127.0.0.1' if fam==socket.AF_INET else '::1',0)); l.listen(5)
    c=socket.socket(fam)
    if pre: pre(c)
    c.connect(l.getsockname()[:2]); a,_=l.accept(); l.close(); a.settimeout(10)
    return c,a
def rd(a,n,extra=True):
    "reads n app bytes, tolerating one header"
    b=b''
    while len(strip0(b))<n:
        x=a.recv(65536)
        if not x: break
        b+=x
    return strip(b)
def strip0(b): return re.sub(rb'traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-9]\r\n',b'',b)
def waitq(s,n,t=0.3):
    end=time.time()+t
    p=select.poll(); p.register(s,select.POLLIN); p.poll(int(t*1000)); time.sleep(0.02)
REQ=b'GET /a HTTP/1.1\r\nHost: x\r\n\r\n'
POST=lambda n:b'POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n'%n
ANS=b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
def t_server_first():
    c,a=pair(); a.send(b'x'*43); waitq(c,43); r=[q(c),select.select([c],[],[],0)[0]!=[]]
    r+= [len(lrecv(c,10,socket.MSG_PEEK)),len(lrecv(c,10)),q(c),len(lrecv(c,100))]
    return r+[lsend(c,REQ),rd(a,len(REQ))]
def t_server_first_twice():
    c,a=pair(); a.send(b'x'*43); waitq(c,43); r=[lrecv(c,100)]; a.send(b'y'*9); waitq(c,9); r+=[q(c)]; return r
def sig(c,dur,fl):
    res=[]
    def h(*_): res.append('sig')
    signal.signal(signal.SIGALRM,h); signal.siginterrupt(signal.SIGALRM,fl)
    signal.setitimer(signal.ITIMER_REAL,dur); 
def t_blocked_signal_eintr():
    c,a=pair(); sig(c,0.05,True); return lrecv(c)
def t_blocked_signal_restart():
    c,a=pair(); sig(c,0.05,False); threading.Timer(0.15,lambda:a.send(b'late')).start(); return lrecv(c)
def t_blocked_reset():
    c,a=pair(); a.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,0)); threading.Timer(0.05,a.close).start(); return lrecv(c)
def t_blocked_fin():
    c,a=pair(); threading.Timer(0.05,a.close).start(); return lrecv(c)
def t_blocked_timeout():
    c,a=pair(); c.setsockopt(socket.SOL_SOCKET,socket.SO_RCVTIMEO,struct.pack('ll',0,50000)); return lrecv(c)
def t_blocked_waitall():
    c,a=pair(); 
    def f(): a.send(b'ab'); time.sleep(.05); a.send(b'cd')
    threading.Timer(0.05,f).start(); return lrecv(c,4,socket.MSG_WAITALL)
def t_nonblock_recv():
    c,a=pair(); c.setblocking(False); r=[lrecv(c)]; a.close(); waitq(c,0); return r+[lrecv(c)]
def t_own_shutdown_recv():
    c,a=pair(); c.shutdown(socket.SHUT_RD); return lrecv(c)
def t_send_basic():
    c,a=pair(); c.setsockopt(6,socket.TCP_NODELAY,1); r=[lsend(c,REQ),rd(a,len(REQ))]; a.send(ANS); waitq(c,1); r+=[q(c),q(c,OUTQ),lrecv(c)]
    time.sleep(.05); r+=[lsend(c,REQ),rd(a,len(REQ))]; a.send(ANS); waitq(c,1); return r+[q(c),lrecv(c)]
def t_v6():
    c,a=pair(socket.AF_INET6); return [lsend(c,REQ),rd(a,len(REQ))]
def errq(c):
    out=[]
    for _ in range(20):
        try: d,anc,fl,ad=c.recvmsg(100,200,socket.MSG_ERRQUEUE|socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
        for lv,ty,b in anc:
            e=struct.unpack('IBBBBII',b[:16]); out.append((e[0],e[1],e[5],e[6]))
    return out
def zc(before,when_more=1,n=20000):
    SO_ZEROCOPY=60; Z=0x4000000
    pre=(lambda s:s.setsockopt(socket.SOL_SOCKET,SO_ZEROCOPY,1)) if before else None
    c,a=pair(pre=pre)
    if not before: c.setsockopt(socket.SOL_SOCKET,SO_ZEROCOPY,1)
    m=POST(n)+b'z'*n; r=[]
    for _ in range(when_more):
        r+=[lsend(c,m,Z),rd(a,len(m))==m]
    time.sleep(.1); 
    ev=errq(c); ids=[]
    for e in ev: ids+=list(range(e[2],e[3]+1))
    return r+[ids]
def t_zc_before(): return zc(True)
def t_zc_after(): return zc(False)
def t_zc_after_big(): return zc(False,1,200000)
def t_zc_two(): return zc(False,2)
def t_more():
    c,a=pair(); r=[lsend(c,POST(5),socket.MSG_MORE)]; time.sleep(.02); r+=[select.select([a],[],[],0)[0]!=[],q(c,OUTQ)>0]; r+=[lsend(c,b'12345'),rd(a,len(POST(5))+5)]
    a.send(ANS); waitq(c,1); return r+[q(c)]
def t_more_then_answer():
    c,a=pair(); r=[lsend(c,POST(5),socket.MSG_MORE)]; a.send(ANS); waitq(c,1); r+=[q(c),lrecv(c)]; return r
def t_cork():
    c,a=pair(); c.setsockopt(6,socket.TCP_CORK,1); r=[lsend(c,POST(5))]; time.sleep(.02); r+=[select.select([a],[],[],0)[0]!=[]]; r+=[lsend(c,b'12345')]; c.setsockopt(6,socket.TCP_CORK,0); return r+[rd(a,len(POST(5))+5)]
def t_sendfile():
    c,a=pair(); f=os.memfd_create('x'); os.write(f,b'F'*300000); r=[lsend(c,POST(300000),socket.MSG_MORE)]
    out=[]; th=threading.Thread(target=lambda:out.append(rd(a,len(POST(300000))+300000))); th.start(); n=0
    while n<300000: n+=os.sendfile(c.fileno(),f,n,300000-n)
    th.join(); return r+[out[0]==POST(300000)+b'F'*300000]
def t_sendfile_first():
    c,a=pair(); f=os.memfd_create('x'); d=POST(30000)+b'G'*30000; os.write(f,d); n=0
    while n<len(d): n+=os.sendfile(c.fileno(),f,n,len(d)-n)
    return [n,rd(a,len(d))==d]
def t_splice_first():
    c,a=pair(); r,w=os.pipe(); os.write(w,REQ); n=os.splice(r,c.fileno(),len(REQ)); return [n,rd(a,len(REQ))]
def t_writev():
    c,a=pair(); d=[b'POST /a HT',b'TP/1.1\r\nHost: x\r\n',b'Content-Length: 3\r\n\r\n',b'abc']; return [os.writev(c.fileno(),d),rd(a,sum(map(len,d)))]
def t_writev_many():
    c,a=pair(); d=[bytes([x]) for x in POST(500)]+[b'q']*500; return [os.writev(c.fileno(),d),rd(a,sum(map(len,d)))]
def nb(sndbuf=None,n=8_000_000,chunk=8_000_000):
    c,a=pair()
    if sndbuf: c.setsockopt(socket.SOL_SOCKET,socket.SO_SNDBUF,sndbuf)
    c.setblocking(False); d=POST(n)+os.urandom(1000)*(n//1000); sent=0; got=[]
    def reader():
        b=b''
        while True:
            x=a.recv(65536)
            if not x: break
            b+=x
        got.append(b)
    again=0; first=None
    r=lsend(c,d[:chunk]); 
    if isinstance(r,int): sent+=r
    r2=lsend(c,d[sent:sent+chunk]); 
    if isinstance(r2,int): sent+=r2
    th=threading.Thread(target=reader); th.start()
    ep=select.epoll(); ep.register(c,select.EPOLLOUT|select.EPOLLET)
    while sent<len(d):
        r=lsend(c,d[sent:sent+chunk])
        if r=='EAGAIN':
            if not ep.poll(5): return 'no EPOLLOUT'
            continue
        if not isinstance(r,int): return r
        sent+=r
    c.shutdown(1); th.join(); return [strip(got[0])==d, sent==len(d)]
def t_nb_big(): return nb()
def t_nb_small(): return nb(4096,300_000)
def t_nb_mid(): return nb(40_000,3_000_000,100_000)
def t_sndtimeo():
    c,a=pair(); c.setsockopt(socket.SOL_SOCKET,socket.SO_SNDTIMEO,struct.pack('ll',0,100000)); d=POST(50_000_000)+b'k'*50_000_000
    r=lsend(c,d); c.shutdown(1); b=b''
    while True:
        x=a.recv(1<<20)
        if not x: break
        b+=x
    b=strip(b); return [isinstance(r,int), len(b)==r, b==d[:r]]
def t_snd_signal():
    c,a=pair(); d=POST(50_000_000)+b'k'*50_000_000; sig(c,.1,True)
    r=lsend(c,d); c.shutdown(1); b=b''
    while True:
        x=a.recv(1<<20)
        if not x: break
        b+=x
    b=strip(b); return [isinstance(r,int), len(b)==r, b==d[:r]]
def t_half_close():
    c,a=pair(); r=[lsend(c,REQ)]; c.shutdown(1); r+=[rd(a,len(REQ)+1)]; a.send(ANS); waitq(c,1); return r+[q(c),lrecv(c),lsend(c,b'x')]
def t_shut_then_send():
    c,a=pair(); c.shutdown(1); return [lsend(c,REQ),lsend(c,b'')]
def t_rst_then_send():
    c,a=pair(); a.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,0)); a.close(); time.sleep(.05); return [lsend(c,REQ),lsend(c,REQ),lrecv(c)]
def t_rst_soerror():
    c,a=pair(); a.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,0)); a.close(); time.sleep(.05); return [c.getsockopt(socket.SOL_SOCKET,socket.SO_ERROR),lsend(c,REQ),lrecv(c)]
def t_fin_then_send():
    c,a=pair(); a.close(); time.sleep(.05); return [lsend(c,REQ),time.sleep(.05),lsend(c,REQ),lrecv(c)]
def t_sigpipe():
    c,a=pair(); c.shutdown(1); pid=os.fork()
    if pid==0:
        signal.signal(signal.SIGPIPE,signal.SIG_DFL); L.send(c.fileno(),REQ,len(REQ),0); os._exit(3)
    return os.waitpid(pid,0)[1]
def t_empty_send():
    c,a=pair(); return [lsend(c,b''),lsend(c,REQ),rd(a,len(REQ))]
class iov(ctypes.Structure): _fields_=[('b',ctypes.c_void_p),('l',ctypes.c_size_t)]
class mh(ctypes.Structure): _fields_=[('n',ctypes.c_void_p),('nl',ctypes.c_uint),('iov',ctypes.c_void_p),('il',ctypes.c_size_t),('c',ctypes.c_void_p),('cl',ctypes.c_size_t),('f',ctypes.c_int)]
def sm(c,parts,fl=0,ctl=None,name=None):
    A=(iov*len(parts))()
    for i,p in enumerate(parts):
        if isinstance(p,tuple): A[i].b,A[i].l=p
        else: A[i].b=ctypes.cast(ctypes.c_char_p(p),ctypes.c_void_p).value; A[i].l=len(p)
    m=mh(); m.iov=ctypes.addressof(A); m.il=len(parts)
    if ctl: m.c=ctypes.cast(ctypes.c_char_p(ctl),ctypes.c_void_p).value; m.cl=len(ctl)
    if name: m.n=ctypes.cast(ctypes.c_char_p(name),ctypes.c_void_p).value; m.nl=len(name)
    r=L.sendmsg(c.fileno(),ctypes.byref(m),fl|socket.MSG_NOSIGNAL); e=ctypes.get_errno(); return r if r>=0 else errno.errorcode[e]
def t_efault():
    c,a=pair(); r=[sm(c,[(16,100)])]; r+=[lsend(c,REQ),rd(a,len(REQ))]; return r
def t_efault_second():
    c,a=pair(); r=sm(c,[POST(100),(16,100)]); c.shutdown(1); return [r,strip(a.recv(1000))]
def t_efault_page():
    c,a=pair(); m=mmap.mmap(-1,8192); ad=ctypes.addressof(ctypes.c_char.from_buffer(m)); L.mprotect(ctypes.c_void_p(ad+4096),4096,0)
    p=POST(8000); ctypes.memmove(ad,p+b'w'*(4096-len(p)),4096); r=sm(c,[(ad,8192)]); c.shutdown(1); b=b''
    while True:
        x=a.recv(10000)
        if not x: break
        b+=x
    return [r,len(strip(b))]
def t_bad_cmsg():
    c,a=pair(); return sm(c,[REQ],0,struct.pack('Nii',16,1,99))
def t_bad_cmsg_len():
    c,a=pair(); return sm(c,[REQ],0,struct.pack('Nii',4,1,37))
def t_tx_timestamp():
    c,a=pair(); c.setsockopt(socket.SOL_SOCKET,37,(1<<4)|(1<<1)|(1<<7)|(1<<11)|(1<<9)); 
    r=[lsend(c,REQ),rd(a,len(REQ))]; time.sleep(.05)
    try: d,anc,fl,ad=c.recvmsg(1000,500,socket.MSG_ERRQUEUE|socket.MSG_DONTWAIT); return r+[[(l,t) for l,t,_ in anc],[struct.unpack('IBBBBII',b[:16])[6] for l,t,b in anc if l==0]]
    except OSError as e: return r+[e.errno]
def t_ts_cmsg():
    c,a=pair(); c.setsockopt(socket.SOL_SOCKET,37,(1<<4)|(1<<11)); 
    r=[sm(c,[REQ],0,struct.pack('NiiI4x',20,1,37,1<<1)),rd(a,len(REQ))]; time.sleep(.05)
    try: d,anc,fl,ad=c.recvmsg(1000,500,socket.MSG_ERRQUEUE|socket.MSG_DONTWAIT); return r+[[(l,t) for l,t,_ in anc]]
    except OSError as e: return r+[e.errno]
def t_name():
    c,a=pair(); return [sm(c,[REQ],0,None,struct.pack('HH4s8x',2,0x100,b'\x7f\0\0\x01')),rd(a,len(REQ))]
def t_oob_first():
    c,a=pair(); r=[lsend(c,b'!',socket.MSG_OOB)]; time.sleep(.02); r+=[a.recv(1,socket.MSG_OOB),lsend(c,REQ),rd(a,len(REQ))]; return r
def t_oob_with_request():
    c,a=pair(); r=[lsend(c,REQ+b'!',socket.MSG_OOB)]; time.sleep(.02); r+=[a.recv(1,socket.MSG_OOB),rd(a,len(REQ))]; return r
def t_oob_after():
    c,a=pair(); r=[lsend(c,REQ),lsend(c,b'!',socket.MSG_OOB)]; time.sleep(.02); r+=[a.recv(1,socket.MSG_OOB),rd(a,len(REQ))]; return r
def t_oob_inline_recv():
    c,a=pair(); a.send(b'?',socket.MSG_OOB); time.sleep(.02); return [lrecv(c,1,socket.MSG_OOB)]
def t_fastopen():
    l=socket.socket(); l.bind(('127.0.0.1',0)); l.setsockopt(6,23,5); l.listen(5); out=[]
    for _ in range(3):
        c=socket.socket(); out.append(c.sendto(REQ,socket.MSG_FASTOPEN,l.getsockname())); a,_=l.accept(); out.append(rd(a,len(REQ))); a.send(ANS); waitq(c,1); out+=[q(c),lrecv(c)]; c.close(); a.close()
    return out
def t_fastopen_connect():
    l=socket.socket(); l.bind(('127.0.0.1',0)); l.setsockopt(6,23,5); l.listen(5); out=[]
    for _ in range(3):
        c=socket.socket(); c.setsockopt(6,30,1); c.connect(l.getsockname()); out.append(lsend(c,REQ)); a,_=l.accept(); out.append(rd(a,len(REQ))); a.send(ANS); waitq(c,1); out+=[q(c),lrecv(c)]; c.close(); a.close()
    return out
def t_disconnect_reconnect():
    l=socket.socket(); l.bind(('127.0.0.1',0)); l.listen(5); c=socket.socket(); out=[]
    for i in range(3):
        c.connect(l.getsockname()); a,_=l.accept()
        if i!=1: out+=[lsend(c,REQ),rd(a,len(REQ))]
        z=struct.pack('H14x',0); out.append(L.connect(c.fileno(),z,16)); a.close()
    return out
def t_disconnect_listen():
    c,a=pair(); out=[]; z=struct.pack('H14x',0); out.append(L.connect(c.fileno(),z,16)); c.bind(('127.0.0.1',0)); c.listen(1); d=socket.create_connection(c.getsockname()); e,_=c.accept(); d.send(REQ); out+=[rd(e,len(REQ))]; e.send(b'x'*5); waitq(d,1); e2=q(d); return out+[e2]
def t_self_connect():
    s=socket.socket(); s.bind(('127.0.0.1',0)); s.connect(s.getsockname()); r=[lsend(s,REQ)]; waitq(s,1); x=q(s); b=strip(lrecv(s)); return r+[x>0,b]
def t_ulp():
    c,a=pair()
    try: c.setsockopt(6,31,b'tls')
    except OSError as e: return e.errno
    return [lsend(c,REQ),rd(a,len(REQ))]
def t_two_procs():
    c,a=pair(); pid=os.fork()
    if pid==0: lsend(c,REQ); os._exit(0)
    os.waitpid(pid,0); r=[rd(a,len(REQ))]; a.send(ANS); waitq(c,1); return r+[q(c)]
def t_close_unread():
    c,a=pair(); lsend(c,REQ); rd(a,len(REQ)); a.send(b'x'*10); waitq(c,1); c.close()
    try: return a.recv(10)
    except OSError as e: return e.errno
def t_close_unread_first():
    c,a=pair(); a.send(b'x'*10); waitq(c,1); c.close()
    try: return a.recv(10)
    except OSError as e: return e.errno
def t_linger():
    c,a=pair(); lsend(c,REQ); c.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,5)); c.close(); return [rd(a,len(REQ)+1)]
def t_close_now():
    c,a=pair(); c.close(); return a.recv(10)
def info(c):
    b=c.getsockopt(6,11,232); return b
def t_tcp_info():
    c,a=pair(); lsend(c,REQ); rd(a,len(REQ)); time.sleep(.01); b=info(c); return [b[0], struct.unpack_from('I',b,24)[0]]
def t_repair():
    c,a=pair(); c.setsockopt(6,19,1); c.setsockopt(6,20,2); c.setblocking(False); r=[lrecv(c,10,socket.MSG_PEEK)]; c.setsockopt(6,19,0); return r+[lsend(c,REQ),rd(a,len(REQ))]
def t_inq():
    c,a=pair(); c.setsockopt(6,36,1); a.send(b'x'*20); waitq(c,1); d,anc,f,ad=c.recvmsg(5,100); return [d,[struct.unpack('i',x[2])[0] for x in anc]]
def t_trunc():
    c,a=pair(); a.send(b'x'*20); waitq(c,1); return [L.recv(c.fileno(),None,15,socket.MSG_TRUNC),lrecv(c)]
def t_splice_recv():
    c,a=pair(); a.send(b'x'*20); waitq(c,1); r,w=os.pipe(); return [os.splice(c.fileno(),w,20)]
def t_rcvlowat():
    c,a=pair(); c.setsockopt(socket.SOL_SOCKET,socket.SO_RCVLOWAT,10); a.send(b'x'*5); time.sleep(.03); r=[select.select([c],[],[],0)[0]!=[]]; a.send(b'x'*5); waitq(c,1); return r+[select.select([c],[],[],0)[0]!=[]]
def t_pipelined():
    c,a=pair(); return [lsend(c,REQ*3),rd(a,3*len(REQ)),lsend(c,REQ),rd(a,len(REQ))]
def t_pieces():
    out=[]
    for k in range(0,len(REQ),3):
        c,a=pair(); c.setsockopt(6,1,1); lsend(c,REQ[:k]); lsend(c,REQ[k:]); out.append(rd(a,len(REQ)))
    return out==[REQ]*len(out)
def proto(msgs,ans):
    c,a=pair(); r=[]
    for m in msgs:
        r+=[lsend(c,m),rd(a,len(m))==m]; a.send(ans); waitq(c,1); r+=[q(c),lrecv(c)]; time.sleep(.03)
    return r
def t_redis(): return proto([b'*1\r\n$4\r\nPING\r\n',b'PING\r\n',b'GET /x HTTP/1.1\r\n\r\n'],b'+PONG\r\n')
def t_pg(): return proto([b'\0\0\0\x08\x04\xd2\x16\x2f',b'Q\0\0\0\x0fGET / HTTP/1.1\r\n\r\n'],b'N')
def t_ssh(): return proto([b'SSH-2.0-x\r\n',b'\0\0\0\x10'+b'z'*16],b'SSH-2.0-y\r\n')
def t_tls(): return proto([b'\x16\x03\x01\0\x05hello',b'\x17\x03\x03\0\x20GET / HTTP/1.1\r\n\r\n'],b'\x16\x03\x03\0\1a')
def t_h2c(): return proto([b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0',b'\0\0\x12\1\5\0\0\0\1GET / HTTP/1.1\r\n\r\n'],b'\0\0\0\4\0\0\0\0\0')
def t_h2c_up(): return proto([b'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n',b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',REQ],b'HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n')
def t_ws(): return proto([b'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',REQ,b'\x81\x85aaaabbbbb'],b'HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n')
def t_ws_after_plain():
    c,a=pair(); lsend(c,REQ); rd(a,len(REQ)); a.send(ANS); lrecv(c); time.sleep(.05)
    m=b'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'; r=[lsend(c,m),rd(a,len(m))==m]; a.send(b'HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n'); lrecv(c); time.sleep(.05)
    n=LINES[0]; r+=[lsend(c,REQ),rd(a,len(REQ)),LINES[0]-n]; a.send(b'x'*5); waitq(c,1); return r+[q(c)]
def t_connect_tunnel():
    c,a=pair(); m=b'CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n'; r=[lsend(c,m),rd(a,len(m))==m]; a.send(b'HTTP/1.1 200 OK\r\n\r\n'); lrecv(c); time.sleep(.05); n=LINES[0]; r+=[lsend(c,REQ),rd(a,len(REQ)),LINES[0]-n]; return r
def t_body_later():
    c,a=pair(); n=LINES[0]; m=POST(len(REQ)*2); r=[lsend(c,m),rd(a,len(m))]; time.sleep(.05); k=LINES[0]; r+=[lsend(c,REQ),rd(a,len(REQ)),lsend(c,REQ),rd(a,len(REQ)),LINES[0]-k]; return r
def t_own():
    m=b'GET / HTTP/1.1\r\nHost: x\r\ntraceParent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n'
    return proto([m,REQ],ANS)
def t_idle_408():
    c,a=pair(); lsend(c,REQ); rd(a,len(REQ)); a.send(ANS); lrecv(c); time.sleep(.08); a.send(b'HTTP/1.1 408 T\r\nConnection: close\r\n\r\n'); waitq(c,1); r=[q(c)]; a.close(); time.sleep(.02); return r+[lrecv(c),lrecv(c)]
def t_idle_blocked_signal():
    c,a=pair(); lsend(c,REQ); rd(a,len(REQ)); a.send(ANS); lrecv(c); time.sleep(.08); sig(c,.05,True); return lrecv(c)
def t_idle_blocked_reset():
    c,a=pair(); lsend(c,REQ); rd(a,len(REQ)); a.send(ANS); lrecv(c); time.sleep(.08); a.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',1,0)); threading.Timer(0.05,a.close).start(); return lrecv(c)
def t_two_senders():
    c,a=pair(); d=POST(100000)+b'e'*100000; ths=[threading.Thread(target=lambda:c.sendall(d)) for _ in range(4)]; [t.start() for t in ths]; b=rd(a,4*len(d)); [t.join() for t in ths]; return [len(b)==4*len(d), b.count(b'e')]
def t_dup_close():
    c,a=pair(); d=c.dup(); c.close(); return [lsend(d,REQ),rd(a,len(REQ))]
def t_keepalive_opts():
    c,a=pair(); c.setsockopt(socket.SOL_SOCKET,socket.SO_KEEPALIVE,1); c.setsockopt(6,4,1); time.sleep(1.2); return [lsend(c,REQ),rd(a,len(REQ))]
def t_congestion():
    c,a=pair(); r=[]
    try: c.setsockopt(6,13,b'reno'); r.append(c.getsockopt(6,13,16).rstrip(b'\0'))
    except OSError as e: r.append(e.errno)
    return r
tests=[k for k in list(globals()) if k.startswith('t_')]
only=sys.argv[1:] 
for k in tests:
    if only and k[2:] not in only: continue
    try: r=globals()[k]()
    except Exception as e: r='EXC %r'%e
    print('%-24s %s'%(k[2:],repr(r)[:400]), flush=True)
